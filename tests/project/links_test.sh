#!/usr/bin/env bash
# Checks that the files and headings to which the project's Markdown files link exist. Links to the internet are not checked.
# Usage: links_test.sh SOURCE_FOLDER
set -uo pipefail
cd "$1" || exit 1
status=0
checked=0
missing() { printf '%s: %s\n' "$1" "$2"; status=1; }
# anchors FILE: the anchors that GitHub gives to its headings.
anchors() {
  awk '/^```/ { code = !code } !code && /^#+ / { sub(/^#+ +/, ""); print tolower($0) }' "$1" |
    sed -e 's/\](\([^)]*\))/]/g' -e 's/[^a-z0-9 _-]//g' -e 's/ /-/g'
}
while IFS= read -r file; do
  while IFS= read -r link; do
    checked=$((checked + 1))
    target=$file
    [[ $link == '#'* ]] || target=$(dirname "$file")/${link%%#*}
    if [[ ! -e $target ]]; then
      missing "$file" "$link does not exist"
    elif [[ $link == *'#'* && $target == *.md ]]; then
      anchors "$target" | grep -qxF -- "${link#*#}" || missing "$file" "$link: no heading has this anchor"
    fi
  done < <(tr '\n' ' ' < "$file" | grep -oE '\]\([^) ]+' | sed -e 's/^](//' | grep -vE '^https?:')
done < <(find . -name '*.md' -not -path './build/*' -not -path './.git/*')
echo "$checked links"
[[ $checked -gt 0 ]] || status=1
exit $status
