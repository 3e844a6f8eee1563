#!/bin/bash
# Installs Debian packages for tests, when they are missing.   packages.sh PROGRAM=PACKAGE...
. "$(dirname "$0")/lib.sh"
missing=()
for pair in "$@"; do
  program=${pair%%=*}
  if [[ "$program" == /* ]]; then [ -e "$program" ] || missing+=("${pair#*=}")
  elif ! command -v "$program" >/dev/null 2>&1 && [ ! -x "/usr/sbin/$program" ]; then missing+=("${pair#*=}"); fi
done
[ ${#missing[@]} = 0 ] || apt_install "${missing[@]}"
