#!/bin/sh
# Makes the certificates that the TLS tests use: those of a server on 127.0.0.1, by a CA of their own.
# What is valid is valid for a hundred years, and the keys are worth nothing.
set -eu
cd "$(dirname "$0")"
ec="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

# certificate NAME SUBJECT_ALT_NAME NOT_BEFORE NOT_AFTER (OpenSSL 3.4 or newer)
certificate() {
    openssl req $ec -subj "/CN=tcb-async tests: $1" -keyout key -out csr
    printf '%s\n' "subjectAltName=$2" "basicConstraints=critical,CA:FALSE" \
        "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth" \
        "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" >ext
    openssl x509 -req -in csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile ext \
        -not_before "$3" -not_after "$4" -out crt
    cat crt key >"$1.pem"
}

then=20200101000000Z
soon=20200102000000Z
later=21190101000000Z
last=21200101000000Z
openssl req -x509 $ec -not_before $then -not_after $last \
    -subj "/CN=tcb-async tests: CA" -keyout ca.key -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
certificate server IP:127.0.0.1 $then $last
certificate expired IP:127.0.0.1 $then $soon
certificate not-yet-valid IP:127.0.0.1 $later $last
certificate other-host DNS:elsewhere.example $then $last
openssl req -x509 $ec -not_before $then -not_after $last \
    -subj "/CN=tcb-async tests: self-signed" -keyout key -out crt \
    -addext "subjectAltName=IP:127.0.0.1" -addext "basicConstraints=critical,CA:FALSE"
cat crt key >self-signed.pem
rm -f ca.key ca.srl key csr ext crt
