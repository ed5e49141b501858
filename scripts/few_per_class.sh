#!/usr/bin/env bash
# Writes the first N samples of each class of a labelled tar, in its own order, as another tar.
#
#   $ scripts/few_per_class.sh 20 $CLIPSIGHT_DATA/rsscn7/train.tar few
#   few/train.tar: 140 samples of 7 classes
set -euo pipefail

if [ $# -ne 3 ] || ! [[ $1 =~ ^[1-9][0-9]*$ ]]; then
    echo "usage: $0 N SET.tar FOLDER" >&2
    exit 2
fi
few=$1 set=$2 folder=$3
classes=$(dirname "$set")/classes.txt
for file in "$set" "$classes"; do
    [ -f "$file" ] || { echo "error: there is no $file" >&2; exit 2; }
done
name=$folder/$(basename "$set")
[ ! -e "$name" ] || { echo "error: $name is there already; name another folder" >&2; exit 2; }

all=$(mktemp -d)
trap 'rm -rf "$all"' EXIT
tar -xf "$set" -C "$all"
mkdir -p "$folder"
# Keys in the order of the tar, as many of each class as asked for, then all members of these keys.
tar --quoting-style=literal -tf "$set" | sed -n 's/\.cls$//p' | while read -r key; do
    printf '%s\t%s\n' "$(tr -d '[:space:]' <"$all/$key.cls")" "$key"
done | awk -F '\t' -v few="$few" 'seen[$1]++ < few { print $2 }' >"$all/.keys"
(cd "$all" && while read -r key; do find "$(dirname "$key")" -maxdepth 1 -name "$(basename "$key").*" ! -name "$(basename "$key").*.*"; done <.keys) >"$all/.members"
tar -cf "$name" -C "$all" -T "$all/.members"
cp "$classes" "$folder/classes.txt"
echo "$name: $(wc -l <"$all/.keys") samples of $(wc -l <"$classes") classes"
