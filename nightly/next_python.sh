#!/usr/bin/env bash
# The tests with the Python and the Redis of Debian's next suite, in a folder of its own.
# It needs root, debootstrap and some minutes: nightly/next_python.sh [SUITE [PYTHON]]
set -euo pipefail
suite=${1:-forky} python=${2:-3.14}
cd "$(dirname "$0")/.."

root=$(mktemp -d)
clean_up() {
  for folder in dev proc; do
    if mountpoint -q "$root/$folder"; then umount -R -l "$root/$folder"; fi
  done
  rm -rf --one-file-system "$root"
}
trap clean_up EXIT

debootstrap --variant=minbase --include=python3,python3-venv,redis-server,ca-certificates \
  "$suite" "$root"
mountpoint -q "$root/proc" || mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"

# Packages are fetched here, where pip is configured; the folder has no network.
python3 -m venv "$root/fetch"
fetch="$root/fetch/bin/pip --disable-pip-version-check"
$fetch download -q --no-deps --python-version "$python" -d "$root/wheels" -r requirements-test.txt
for source in "$root"/wheels/*.tar.gz; do  # of pure Python: compiled packages have wheels
  $fetch wheel -q --no-deps -w "$root/wheels" "$source"
done
$fetch wheel -q --no-deps -w "$root/wheels" .
rm -rf "$root/fetch"

mkdir "$root/source"
git -c safe.directory="$PWD" archive HEAD | tar -x -C "$root/source"
chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin bash -euc '
  cd /source
  python3 -m venv /venv
  /venv/bin/pip install -q --no-index --find-links /wheels -r requirements-test.txt tcb_async
  /venv/bin/python --version
  /venv/bin/pytest -n auto -q -p no:randomly
'
