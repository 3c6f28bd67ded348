#!/usr/bin/env bash
# What the project's Markdown files link to or show, and is not on the internet, must be there.
# Usage: links_test.sh SOURCE_FOLDER
set -uo pipefail
cd "$1" || exit 1
status=0
checked=0
while IFS= read -r file; do
  while IFS= read -r target; do
    checked=$((checked + 1))
    [[ -e $(dirname "$file")/$target ]] || { echo "$file: $target is not there"; status=1; }
  done < <(grep -oE '\]\([^) ]+' "$file" | sed -e 's/^](//' -e 's/#.*//' | grep -vE '^(https?:|$)')
done < <(find . -name '*.md' -not -path './build/*' -not -path './.git/*')
echo "$checked links"
[[ $checked -gt 0 ]] || status=1
exit $status
