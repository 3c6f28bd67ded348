#!/usr/bin/env bash
# Downloads Keras' ImageNet-trained VGG16 without its top (59 MB) to ~/.keras/models/, where Keras keeps it and filterscope
# looks for it. An interrupted download goes on where it stopped; the file gets its name only when its MD5 is right.
#
#   FILTERSCOPE_WEIGHTS_URL   another address of the same file, such as a mirror or file:///...
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

readonly url=${FILTERSCOPE_WEIGHTS_URL:-$official}
readonly folder=${FILTERSCOPE_WEIGHTS_DIR:-${HOME:?}/.keras/models}
readonly target=$folder/$name
readonly partial=$target.part

fail() {
  cat >&2 <<END

weights/fetch.sh: $1
To place the file by hand: download
  $official
($size bytes, MD5 $md5) on any machine and put it at
  $target
or into the folder weights/ you run filterscope in, or name it with --weights FILE. Without it,
\`filterscope render --weights synthetic\` works on a made-up network.
END
  exit 1
}

# macOS has md5 instead of md5sum.
md5_of() {
  if command -v md5sum > /dev/null; then md5sum < "$1" | cut -d' ' -f1; else md5 -q "$1"; fi
}
size_of() { wc -c < "$1" | tr -d ' '; }

cat <<END
VGG16 by K. Simonyan and A. Zisserman, Visual Geometry Group, University of Oxford, converted for Keras by F. Chollet.
Licence: Creative Commons Attribution 4.0 (https://creativecommons.org/licenses/by/4.0/). See weights/README.md.
END

if [[ -f $target ]]; then
  [[ $(md5_of "$target") == "$md5" ]] && { echo "Already there: $target"; exit 0; }
  fail "$target is there, but its MD5 is $(md5_of "$target") instead of $md5. Move it away and run this again."
fi
mkdir -p "$folder" || fail "cannot create $folder"

download() {
  if command -v curl > /dev/null; then
    local -a options=(--fail --location --retry 3 --connect-timeout 20 --speed-limit 1000 --speed-time 60)
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
    wget --no-verbose --tries=3 --timeout=60 --continue --output-document="$partial" "$url"
  else
    fail "neither curl nor wget is installed"
  fi
}

# A partial file that is complete already, or too long, cannot be continued.
[[ -f $partial && $(size_of "$partial") -gt $size ]] && rm -f "$partial"
if [[ ! -f $partial || $(size_of "$partial") -lt $size ]]; then
  echo "From $url"
  echo "to   $target"
  download || fail "the download failed; what has arrived is kept, and the next call goes on from there"
fi

found=$(md5_of "$partial")
if [[ $found != "$md5" ]]; then
  bytes=$(size_of "$partial")
  rm -f "$partial"
  fail "what arrived is another file: $bytes bytes with MD5 $found, expected $size with $md5"
fi
mv "$partial" "$target"
echo "Done: $target"
