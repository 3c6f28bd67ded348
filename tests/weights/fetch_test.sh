#!/usr/bin/env bash
# weights/fetch.sh with a small file in place of the real one: only size and MD5 in a copy of the script are changed.
# Exit code 77: skipped. Usage: fetch_test.sh FETCH_SCRIPT
set -uo pipefail

readonly script=$1
command -v curl > /dev/null || { echo "curl is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
readonly folder
readonly name=vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5
readonly source=$folder/source
readonly target=$folder/home/.keras/models/$name

seq 1 20000 > "$source"
size=$(wc -c < "$source")
md5=$(md5sum < "$source" | cut -d' ' -f1)
sed -e "s/^readonly size=.*/readonly size=$size/" -e "s/^readonly md5=.*/readonly md5=$md5/" "$script" > "$folder/fetch.sh"

failures=0
# expect NAME STATUS TEXT URL [ARGUMENT...]: runs the script and checks its status and that its output holds TEXT.
# ARGUMENTs are the script's own.
expect() {
  local output status
  output=$(HOME=$folder/home FILTERSCOPE_WEIGHTS_URL=$4 bash "$folder/fetch.sh" "${@:5}" 2>&1)
  status=$?
  if [[ $status != "$2" || $output != *"$3"* ]]; then
    printf 'FAILED %s: expected status %s and "%s", found status %s and\n%s\n' "$1" "$2" "$3" "$status" "$output"
    failures=$((failures + 1))
  fi
}
# check NAME COMMAND...
check() {
  "${@:2}" || { echo "FAILED $1"; failures=$((failures + 1)); }
}

for help in -h --help; do
  expect "$help" 0 "FILTERSCOPE_WEIGHTS_DIR" "file://$source" "$help"
done
expect "an argument" 2 'found "now"' "file://$source" now
expect "no argument, and one" 2 'found " now"' "file://$source" "" now
expect "help and more" 2 'found "--help now"' "file://$source" --help now
check "nothing was downloaded" test ! -e "$target"
expect "no such address" 1 "put it at" "file://$folder/nowhere"
check "nothing under the final name" test ! -e "$target"
expect "download" 0 "Done: $target" "file://$source"
check "same bytes" cmp -s "$source" "$target"
check "nothing left over" test ! -e "$target.part"
expect "licence is named" 0 "Creative Commons Attribution 4.0" "file://$source"
expect "already there" 0 "Already there" "file://$folder/nowhere"

echo other > "$target"
expect "another file is there" 1 "instead of $md5" "file://$source"
check "it is left alone" test "$(cat "$target")" = other
rm "$target"

head -c 1000 "$source" > "$target.part"
expect "continues" 0 "Done" "file://$source"
check "same bytes after continuing" cmp -s "$source" "$target"
rm "$target"

head -c 1000 /dev/zero > "$target.part"
expect "continues something else" 1 "expected $size with $md5" "file://$source"
check "that is thrown away" test ! -e "$target.part" -a ! -e "$target"
expect "and the next call works" 0 "Done" "file://$source"
rm "$target"

cp "$source" "$target.part"
expect "complete but unnamed" 0 "Done" "file://$folder/nowhere"
rm "$target"

echo "<html>log in first</html>" > "$folder/page"
expect "a web page" 1 "another file" "file://$folder/page"
check "a web page gets no name" test ! -e "$target"

[[ $failures == 0 ]] && echo "all passed"
exit $((failures != 0))
