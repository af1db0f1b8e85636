#!/bin/sh
# System libraries that Qt and off-screen OpenGL need on Linux, and CMake, with which the tests install the extension.
# Installs what is missing on Debian or Ubuntu when it may, else says what to install. Does nothing elsewhere.
set -eu

PACKAGES="libegl1 libgl1 libglib2.0-0 libdbus-1-3 libxkbcommon0 libfontconfig1 cmake make"

[ "$(uname -s)" = Linux ] || exit 0
command -v dpkg-query >/dev/null 2>&1 || {
    ldconfig -p | grep -q 'libEGL\.so\.1' || echo "note: install your system's EGL and OpenGL libraries (Mesa)" >&2
    exit 0
}

missing=""
for package in $PACKAGES; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" = 0 ]; then
    install="apt-get"
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    install="sudo apt-get"
else
    echo "note: for the views, and for the packaging test, install: apt-get install$missing" >&2
    exit 0
fi
echo "installing system libraries:$missing"
$install update -qq >/dev/null
# shellcheck disable=SC2086  # a list of packages
DEBIAN_FRONTEND=noninteractive $install install -y -qq --no-install-recommends $missing >/dev/null
