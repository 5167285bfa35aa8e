#!/bin/sh
# Pinion with a plant for the gate to find: routes that no request meets but every request is matched against.
#
#   pinion-bench gate --base-cmd 'sh bench/plants/pinion.sh PINION {listen} {upstream} {folder} 0' \
#       --candidate-cmd 'sh bench/plants/pinion.sh PINION {listen} {upstream} {folder} 40' --scenarios http1-saturated
set -eu
program=$1 listen=$2 upstream=$3 folder=$4 routes=$5

{
  printf '[proxy]\nshards = 1\nadmin = "unix:%s/admin.sock"\ndrain = "1s"\n' "$folder"
  printf '[[listeners]]\nname = "web"\naddress = "%s"\n' "$listen"
  printf '[[clusters]]\nname = "origin"\nendpoints = ["%s"]\n' "$upstream"
  printf '[[routes]]\ncluster = "origin"\n'
  route=0
  while [ "$route" -lt "$routes" ]; do
    # More specific than the route above: tried first. A suffix is compared only after the header was found.
    printf '[[routes]]\nheaders = { user-agent = { suffix = "never-%s" } }\ncluster = "origin"\n' "$route"
    route=$((route + 1))
  done
} >"$folder/planted.toml"
exec "$program" run --config "$folder/planted.toml"
