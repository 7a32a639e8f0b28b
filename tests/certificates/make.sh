#!/bin/sh
# Makes the certificates that the TLS tests use: a CA of their own, and a server's for 127.0.0.1.
# They are good for a hundred years, and their keys are worth nothing.
set -eu
cd "$(dirname "$0")"
valid="-not_before 20200101000000Z -not_after 21200101000000Z"  # OpenSSL 3.4 or newer
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes $valid \
    -subj "/CN=tcb-async tests: CA" -keyout ca.key -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign"
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
    -subj "/CN=tcb-async tests: server" -keyout server.key -out server.csr
printf '%s\n' "subjectAltName=IP:127.0.0.1" "basicConstraints=critical,CA:FALSE" \
    "keyUsage=critical,digitalSignature" "extendedKeyUsage=serverAuth" \
    "subjectKeyIdentifier=hash" "authorityKeyIdentifier=keyid" >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial $valid \
    -extfile server.ext -out server.crt
cat server.crt server.key >server.pem
rm -f ca.key ca.srl server.crt server.csr server.ext server.key
