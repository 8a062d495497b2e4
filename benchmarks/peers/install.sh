#!/usr/bin/env bash
# Installs the systems that are compared with, each in a virtual environment of its own:
#     benchmarks/peers/install.sh [sb3] [sample-factory] [torchrl] [rllib] [cleanrl]
# All of them without a name.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
all=(sb3 sample-factory torchrl rllib cleanrl)
names=("$@")
if [ $# -eq 0 ]; then names=("${all[@]}"); fi

for name in "${names[@]}"; do
    if [ ! -f "$here/requirements/$name.txt" ]; then
        echo "install.sh: there is no peer '$name': choose of ${all[*]}" >&2
        exit 2
    fi
done

for name in "${names[@]}"; do
    environment="$here/.venvs/$name"
    echo "installing $name into $environment"
    rm -f "$environment/.installed"
    "$python" -m venv "$environment"
    options=()
    # Its package names older releases of Python and of libraries than its ppo.py needs.
    if [ "$name" = cleanrl ]; then options=(--no-deps --ignore-requires-python); fi
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${options[@]}" \
        -r "$here/requirements/$name.txt"
    # Only a complete installation has this mark.
    touch "$environment/.installed"
done
