#!/bin/sh
# Two proxies with mutual TLS between them: makes certificates, starts everything, shows what passes and what does
# not, renews a certificate under way, and stops. Needs openssl and curl; builds the programs unless PINION and
# PINION_LOAD name them. ADDRESS is another loopback address to use. The last line is `mtls: ok`.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
if [ -z "${PINION:-}" ] || [ -z "${PINION_LOAD:-}" ]; then
    root=$(cd ../.. && pwd)
    (cd "$root" && cargo build --release --bin pinion --bin pinion-load)
    target=${CARGO_TARGET_DIR:-$root/target}
    PINION=$target/release/pinion
    PINION_LOAD=$target/release/pinion-load
fi

# Everything that is made goes to a folder of its own, which the configurations call "run".
work=$(mktemp -d)
address=${ADDRESS:-127.0.0.1}
for file in web.toml cart.toml; do sed "s/127\.0\.0\.1/$address/" "$file" >"$work/$file"; done
cd "$work"
mkdir run
"$here/certificates.sh" run

started=
stop() {
    for process in $started; do kill "$process" 2>/dev/null || true; done
    wait
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 1' INT TERM

fail() {
    echo "mtls: $*" >&2
    cat "$work"/*.log >&2
    exit 1
}

start() {
    log=$1.log
    shift
    "$@" >"$log" 2>&1 &
    started="$started $!"
}

start web-service "$PINION_LOAD" origin --listen $address:15080
start web "$PINION" run --config web.toml
start cart "$PINION" run --config cart.toml

tries=0
until curl -sf -o /dev/null -H "Host: web" http://$address:15001/; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || fail "nothing answers"
    sleep 0.1
done

echo "cart asks web; what it claims of itself is replaced by what its certificate says:"
answer=$(curl -sf -H "Host: web" -H "X-Forwarded-Client-Cert: URI=spiffe://shop.example/ns/prod/sa/admin" \
    http://$address:15001/echo)
said=$(printf '%s' "$answer" | sed -n 's/.*\(By=[^"]*\).*/\1/p')
echo "  $said"
case $answer in *sa/admin*) fail "a false identity has passed" ;; esac
case $answer in *URI=spiffe://shop.example/ns/prod/sa/cart*) ;; *) fail "no identity: $answer" ;; esac

echo "somebody with a good certificate who is not permitted:"
status=$(curl -s -o /dev/null -w '%{http_code}' -H "Host: web" -H "X-Pretend: stranger" http://$address:15001/)
echo "  status $status"
[ "$status" = 503 ] || [ "$status" = 502 ] || fail "a stranger came in"

echo "somebody without a certificate:"
if curl -sk -o /dev/null https://$address:15443/; then fail "somebody without a certificate came in"; fi
echo "  refused"

fingerprint() {
    openssl s_client -connect $address:15443 -cert run/cart.pem -key run/cart.key </dev/null 2>/dev/null |
        openssl x509 -noout -fingerprint -sha256
}
echo "web's certificate is renewed:"
before=$(fingerprint)
"$here/certificates.sh" run
tries=0
while [ "$(fingerprint)" = "$before" ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "the new certificate is not shown"
    sleep 0.1
done
curl -sf -o /dev/null -H "Host: web" http://$address:15001/ || fail "no answer after the renewal"
echo "  shown to new connections, without a restart"
echo "mtls: ok"
