# Arrays, associative arrays, string operations, substitutions and subshells.
# What is printed is the same on every malloc.
set -eu

state=7
number() { # sets $n below $1
    state=$(((state * 1103515245 + 12345) & 0x7fffffff))
    n=$(((state >> 8) % $1))
}

parts=(ar en a blo ck po ol free list size class)
declare -A count
words=()
for ((i = 0; i < 6000; i++)); do
    word=
    number 4
    for ((j = n; j >= 0; j--)); do
        number ${#parts[@]}
        word+=${parts[n]}
    done
    words+=("$word")
    count[$word]=$((${count[$word]:-0} + 1))
done
echo "${#words[@]} words, ${#count[@]} of them different"

for ((i = 0; i < 3000; i += 3)); do
    unset "words[$i]"
done
words=("${words[@]/ol/OL}")
text="${words[*]}"
echo "${#text} ${text//[aeiou]/} " | cksum
echo "${text^^}" | cksum
printf '%s\n' "${!count[@]}" | sort | cksum

matched=0
for word in "${!count[@]}"; do
    if [[ $word =~ ^(ar|en)+(.*)(list|class)$ ]]; then
        matched=$((matched + ${#BASH_REMATCH[2]}))
    fi
    case $word in
    *free*) matched=$((matched + 1)) ;;
    esac
done
echo "matched $matched"

recurse() {
    local depth=$1 mine="$2$1"
    ((depth == 0)) && { echo "${#mine}"; return; }
    recurse $((depth - 1)) "$mine"
}
recurse 400 x

for ((i = 0; i < 40; i++)); do
    inner=$(
        copy=("${words[@]}")
        copy+=("$i")
        echo "${#copy[@]} ${copy[-1]}"
    )
    [[ $inner == *" $i" ]]
done
echo "$inner"
mapfile -t back < <(printf '%s\n' "${words[@]}")
[[ ${back[*]} == "${words[*]}" ]] && echo "read back ${#back[@]}"
tr a-z A-Z <<END | cksum
${words[@]:10:2000}
END
