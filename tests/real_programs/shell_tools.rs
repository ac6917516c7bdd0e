//! The everyday tools: bash, make, sort, awk, sed, tar with gzip and xz.

use std::fmt::Write;

use crate::generated;
use crate::harness::{Bytes, input, same_with_and_without};

#[test]
fn bash() {
    same_with_and_without("bash", &["bash"], |side| {
        side.ok(side.command("bash").arg(input("arrays.sh")))
    });
}

#[test]
fn sort_awk_and_sed() {
    let lines = generated::lines(1_000_000);
    same_with_and_without("sort", &["sort", "awk", "sed", "uniq", "grep"], |side| {
        side.write("lines", &lines);
        [
            "sort --parallel=2 -S 100M lines",
            "sort --parallel=2 -S 20M -k2,2 -k1,1n lines",
            "awk '{ count[$2] += $1; last[$3] = last[$3] substr($0, 1, 2) }
                END { for (w in count) print w, count[w]; for (w in last) print w, length(last[w]) }' lines | sort",
            "sed -E 's/([a-z]+) ([a-z]+)/\\2-\\1/; /9$/d; s/^1(.*)$/<\\1>/' lines",
            "grep -E '(po|ol|he)+ (ar|en)*$' lines | sort -u | uniq -c",
        ]
        .map(|script| Bytes(side.shell(script).stdout))
    });
}

#[test]
fn tar_gzip_and_xz() {
    let lines = generated::lines(200_000);
    same_with_and_without("tar", &["tar", "gzip", "xz"], |side| {
        for (number, part) in lines.as_bytes().chunks(10_000).enumerate() {
            side.write(&format!("tree/{}/part-{number}", number % 17), part);
        }
        side.shell(
            "tar --sort=name --mtime=@0 --owner=0 --group=0 --mode=a=rX -cf tree.tar tree
             gzip -9nk tree.tar
             xz -2k -T2 --block-size=1MiB tree.tar
             mkdir gzip xz
             tar -C gzip -xzf tree.tar.gz
             tar -C xz -xJf tree.tar.xz
             diff -r tree gzip/tree && diff -r tree xz/tree",
        );
        ["tree.tar", "tree.tar.gz", "tree.tar.xz"].map(|name| Bytes(side.read(name)))
    });
}

#[test]
fn make() {
    let mut makefile = String::from(
        "NAMES := $(foreach i,0 1 2 3 4 5 6 7 8 9,$(foreach j,0 1 2 3 4 5 6 7 8 9,t$i$j))\n",
    );
    makefile.push_str(
        "REVERSED = $(if $1,$(call REVERSED,$(wordlist 2,$(words $1),$1)) $(firstword $1))\n",
    );
    makefile.push_str("all: last\n\t@cat $(NAMES:=.out)\n");
    makefile.push_str("%.out: %.in\n\t@tr a-z A-Z < $< > $@\n");
    for target in 0..100 {
        let earlier = if target == 0 {
            String::new()
        } else {
            format!("t{:02}.out", target / 2)
        };
        writeln!(
            makefile,
            "t{target:02}.out: {}",
            if target == 0 { "" } else { &earlier }
        )
        .unwrap();
    }
    makefile.push_str(
        "$(foreach n,$(NAMES),$(eval $n.in: ; @echo $n $(call REVERSED,$(NAMES)) > $n.in))\n",
    );
    makefile.push_str("last: $(NAMES:=.out)\n");
    same_with_and_without("make", &["make"], |side| {
        side.write("Makefile", &makefile);
        side.ok(side.command("make").args(["-j2", "--output-sync"]))
    });
}
