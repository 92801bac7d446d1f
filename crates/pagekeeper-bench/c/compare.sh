#!/bin/sh
# What calls cost with each engine, with the kernel's own calls, and under Wine where it and mingw are installed, side by side.
#
#     cargo build --release
#     crates/pagekeeper-bench/c/compare.sh [calls of each kind [regions ...]]
#
# Medians in nanoseconds; a number of regions that somebody cannot have alive is a line "stopped-at". Environment: ROUNDS repeats
# everything and the median is taken over them (default 3).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}/release
calls=${1:-2000}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- 1 1000 1000000
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cc -O2 -std=c11 -DKERNEL -o "$work/kernel" "$here/calls.c" -pthread
cc -O2 -std=c11 -I "$root/crates/pagekeeper-win32/include" -o "$work/ours" "$here/calls.c" -L "$target" -lpagekeeper_win32 \
    -Wl,-rpath,"$target" -pthread
contenders="kernel inline mapped resident"
if command -v wine >/dev/null && command -v x86_64-w64-mingw32-gcc >/dev/null; then
    x86_64-w64-mingw32-gcc -O2 -std=c11 -D__USE_MINGW_ANSI_STDIO=1 -o "$work/calls.exe" "$here/calls.c"
    export WINEPREFIX="$work/prefix" WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
    wine "$work/calls.exe" 1 1 1 >/dev/null 2>&1 # makes the prefix
    contenders="$contenders wine"
else
    echo "Wine is left out, because wine or x86_64-w64-mingw32-gcc is not installed" >&2
fi
one() { # one CONTENDER REGIONS THREADS
    case $1 in
    kernel) "$work/kernel" "$2" "$3" "$calls" ;;
    wine) wine "$work/calls.exe" "$2" "$3" "$calls" 2>/dev/null | tr -d '\r' ;;
    *) PAGEKEEPER_ENGINE=$1 PAGEKEEPER_RAM=${PAGEKEEPER_RAM:-4G} "$work/ours" "$2" "$3" "$calls" ;;
    esac | sed "s/^/$1 /"
}
round=0
while [ $round -lt "${ROUNDS:-3}" ]; do
    round=$((round + 1))
    for regions in 0 "$@"; do
        for threads in 1 2; do
            [ "$regions" = 0 ] && [ $threads = 2 ] && continue
            for contender in $contenders; do
                one $contender "$regions" $threads >>"$work/lines" || echo "$contender stopped-at $regions $threads 0" >>"$work/lines"
            done
        done
    done
done
[ "${contenders%wine}" = "$contenders" ] || wineserver -k 2>/dev/null || true
awk -v contenders="$contenders" '
function median(text, n, parts, i, j, t) {
    n = split(text, parts, " ")
    for (i = 2; i <= n; i++)
        for (j = i; j > 1 && parts[j] + 0 < parts[j - 1] + 0; j--) { t = parts[j]; parts[j] = parts[j - 1]; parts[j - 1] = t }
    return parts[int((n + 1) / 2)]
}
{ key = $2 " | " $3 " | " $4; if (!(key in seen)) { seen[key] = 1; order[++count] = key } values[key, $1] = values[key, $1] " " $5 }
END {
    n = split(contenders, names, " ")
    head = "| call | regions | threads |"; line = "|---|---:|---:|"
    for (i = 1; i <= n; i++) { head = head " " names[i] " |"; line = line "---:|" }
    print head; print line
    for (k = 1; k <= count; k++) {
        row = "| " order[k] " |"
        for (i = 1; i <= n; i++) { text = values[order[k], names[i]]; row = row " " (text == "" ? "–" : median(text)) " |" }
        print row
    }
}' "$work/lines"
