#!/usr/bin/env bash
# A clone has the same files for everyone: with core.autocrlf=true, as Git for Windows sets it for a clone that is used in WSL,
# with core.eol=crlf, on file systems that ignore case, and on those without permissions.
# Usage: clone_test.sh SOURCE_FOLDER
# Exit code 77 if SOURCE_FOLDER is not a clone.
set -uo pipefail

cd "$1" || exit 1
if ! top=$(git rev-parse --show-toplevel 2>/dev/null) || [[ ! $top -ef . ]]; then
  echo "skipped: git is missing, or this is not a clone"
  exit 77
fi
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
failed() { echo "FAILED: $*"; status=1; }

# Copies the files, committed or not, to a new repository, so that the user's settings do not matter.
mkdir "$folder/source"
git ls-files -z --cached --others --exclude-standard | sort -zu |
  while IFS= read -rd '' file; do [[ ! -e $file && ! -L $file ]] || printf '%s\0' "$file"; done |
  tar --null --files-from=- -cf - | tar -C "$folder/source" -xf - || exit 1
cd "$folder" || exit 1
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE
git init --quiet source
git -C source add --all --force || exit 1

checkout() { # NAME SETTING...
  local options=() setting
  for setting in "${@:2}"; do options+=(-c "$setting"); done
  git -C source "${options[@]}" checkout-index --all --prefix="$folder/$1/" || failed "no checkout with ${*:2}"
  diff -r --exclude=.git source "$1" >differences.txt || { failed "other files with ${*:2}:"; head -20 differences.txt; }
}
checkout plain core.autocrlf=false
checkout windows core.autocrlf=true core.eol=crlf
checkout crlf core.autocrlf=false core.eol=crlf
checkout input core.autocrlf=input

# Git guesses from a file's first bytes whether it is text; binary formats must be marked as such.
while IFS=$'\t' read -r kinds file; do
  case $file in
    *.apng | *.h5 | *.hdf5 | *.jpg | *.npy | *.png | *.safetensors)
      [[ $kinds == *attr/-text* ]] || failed "$file is not marked as binary in .gitattributes" ;;
    *) [[ $kinds == *'attr/text=auto eol=lf'* ]] || failed "$file has other attributes: $kinds" ;;
  esac
  [[ $kinds != i/crlf* && $kinds != i/mixed* ]] || failed "$file has lines that end with CRLF"
  [[ $file != *.sh || -x source/$file || $file == tools/cluster/common.sh ]] || failed "$file is not executable"
  [[ ! $file =~ [\<\>:\"\|?*\\]|[.\ ](/|$) ]] || failed "$file is not a valid name on Windows"
  [[ ! ${file,,} =~ (^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|/|$) ]] || failed "$file names a device on Windows"
done < <(git -C source -c core.quotePath=false ls-files --eol | sed 's/ *\t/\t/')
clashes=$(git -C source ls-files | tr '[:upper:]' '[:lower:]' | sort | uniq -d)
[[ -z $clashes ]] || failed "names that differ only in case: $clashes"

# From a ZIP file or on a file system without permissions, users run scripts with bash; scripts must do so with each other.
chmod -R -x+X plain
for script in quickstart test; do
  grep -nE '^[^#]*(^|[ ;(!])(tools|weights)/[a-z_]+\.sh' "plain/tools/$script.sh" | grep -v 'bash ' &&
    failed "$script.sh runs a script without bash"
done
bash plain/tools/quickstart.sh --help | grep -q FILTERSCOPE_WEIGHTS || failed "quickstart.sh --help without permissions"

echo "$(git -C source ls-files | wc -l) files"
exit $status
