#!/bin/sh
# Makes what the example needs in the folder given: an authority for the trust domain shop.example, and a
# certificate with key for each workload. Run it again to renew the workloads' certificates; the authority stays.
# Needs openssl. For a demonstration only: in a mesh something like SPIRE or cert-manager does this.
set -eu

folder=${1:?usage: certificates.sh FOLDER}
mkdir -p "$folder"
cd "$folder"
umask 077

key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$1"; }

if [ ! -f ca.key ]; then
    key ca.key
    openssl req -x509 -new -key ca.key -sha256 -days 3650 -subj "/O=Shop/CN=shop.example" -out bundle.pem \
        -addext "keyUsage=critical,keyCertSign,cRLSign"
fi

# NAME: a certificate for one day. Both files are renamed into their places, the key last: until then the two do
# not belong together, and a running proxy keeps the pair it has.
workload() {
    key "$1.key.new"
    printf '%s\n' "subjectAltName=URI:spiffe://shop.example/ns/prod/sa/$1" "basicConstraints=critical,CA:FALSE" \
        "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth,clientAuth" >extensions
    openssl req -new -key "$1.key.new" -subj "/O=Shop/CN=$1" |
        openssl x509 -req -CA bundle.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days 1 -sha256 \
            -extfile extensions -out "$1.pem.new" 2>/dev/null
    rm extensions
    mv "$1.pem.new" "$1.pem"
    mv "$1.key.new" "$1.key"
}

workload cart
workload web
workload stranger
