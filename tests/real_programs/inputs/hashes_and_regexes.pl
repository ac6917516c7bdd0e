# Hashes, regular expressions, closures, string evals, sorting and interpreter
# threads, which clone every value. What is printed is the same on every malloc.

use strict;
use warnings;
use Config;
use Digest::MD5 qw(md5_hex);

my $state = 12345;

sub number {
    $state = ($state * 1103515245 + 12345) & 0x7fffffff;
    return ($state >> 8) % $_[0];
}

my @parts = qw(ar en a blo ck po ol free list size class use d);
my %count;
my @text;
for (1 .. 30000) {
    my @words = map { join '', map { $parts[number(scalar @parts)] } 0 .. number(4) } 0 .. number(8);
    $count{$_}++ for @words;
    push @text, join ' ', @words;
}
my $text = join "\n", @text;
print scalar(keys %count), ' words, ', length $text, ' bytes, ', md5_hex($text), "\n";

# Nested structures that grow and shrink.
my %index;
for my $line (0 .. $#text) {
    push @{ $index{length $_}{substr $_, 0, 2}{$_} }, $line for split / /, $text[$line];
}
for my $length (sort { $a <=> $b } keys %index) {
    delete $index{$length}{ar};
    my $lines = 0;
    $lines += @$_ for map { values %$_ } values %{ $index{$length} };
    print "$length: $lines\n";
}
undef %index;

# Matching, captures, substitution with code.
my $pairs = 0;
$pairs++ while $text =~ /\b(\w+?)(en|ol)(\w*) (?=(?:free|list)+\b)/g;
(my $changed = $text) =~ s/(blo)(ck)?|(po)+ol/defined $2 ? uc "$1$2" : "<$&>"/ge;
my %upper = map { $_ => 1 } $changed =~ /[A-Z]{2,}/g;
print "$pairs pairs, ", md5_hex($changed), ' ', join(',', sort keys %upper), "\n";
my $deep = '(' x 200 . 'x' . ')' x 200;
my $balanced = qr/(\((?:[^()]++|(?1))*\))/;
print 'balanced ', length(($deep =~ $balanced)[0]), "\n";

my @made = map { my $n = $_; sub { $n * $_[0] } } 1 .. 5000;
my $sum = 0;
$sum += $_->(3) for @made;
$sum += eval "sub { my \%h = (a => $_); \$h{a} + length('x' x $_) }->()" for 1 .. 500;
print "closures $sum\n";

my @sorted = sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count;
printf "%-12s %6d\n", $_, $count{$_} for @sorted[0 .. 9];
my $packed = pack '(w/a)*', @sorted;
print join(' ', md5_hex($packed), scalar(unpack '%32C*', $packed)), "\n";
my $long = '';
substr($long, number(length($long) + 1), 0) = $_ for @sorted[0 .. 2000];
print md5_hex($long), "\n";

# A child with a copy of everything.
defined(my $child = open my $pipe, '-|') or die "fork: $!";
if (!$child) {
    my %copy = map { $_ => [ ($_) x 3 ] } keys %count;
    print md5_hex(join ',', map { @$_ } @copy{ sort keys %copy });
    exit 0;
}
print 'child ', <$pipe>, "\n";
close $pipe or die "child: $?";

if ($Config{useithreads}) {
    require threads;
    my @threads = map {
        my $n = $_;
        threads->create(
            sub {
                my %mine = map { $_ . $n => reverse $_ } keys %count;
                return md5_hex(join ',', map { "$_$mine{$_}" } sort keys %mine);
            }
        )
    } 1 .. 4;
    print "thread ", $_->join, "\n" for @threads;
}
