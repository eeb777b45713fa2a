#!/usr/bin/env bash
# Whether a peer does an order's whole work: starts it on a free port beside running servers and looks at every answer,
# at the outbox, and at the record in the topic.
#
#   perf/peers/check.sh target/peers/bin/peer-go redis://127.0.0.1:6379 127.0.0.1:9092 orders
#
# Exit codes: 0 it does; 1 it does not, each difference in a line. Wants curl, redis-cli and kcat.
set -euo pipefail
[ $# -eq 4 ] || { echo "usage: $0 PROGRAM REDIS KAFKA TOPIC" >&2; exit 2; }
program=$1 redis=$2 kafka=$3 topic=$4

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port
product=check-$$-$RANDOM
"$program" --listen "127.0.0.1:$port" --redis "$redis" --kafka "$kafka" --topic "$topic" --threads 1 &
peer=$!
trap 'kill "$peer"' EXIT
curl --silent --output /dev/null --retry 50 --retry-delay 1 --retry-connrefused "$url/stock/none"

faulty=0
differs() { printf 'check: %s\n' "$*" >&2; faulty=1; }
same() { [ "$2" = "$3" ] || differs "$1: $2 in place of $3"; } # what, is, should be

# Status and body, then the header fields that count. Lower case, since Go writes them otherwise.
ask() { curl --silent --include "$@" | tr -d '\r'; }
order() { # product, user, key, quantity
  ask --json "{\"productId\":\"$1\",\"userId\":\"$2\",\"quantity\":$4}" --header "x-idempotency-key: $3" "$url/order"
}
status() { head -n 1 | cut -d ' ' -f 2; }
field() { sed -n "s/^$1: //Ip"; }
body() { sed '1,/^$/d'; }
init() { ask --json "{\"productId\":\"$1\",\"quantity\":$2,\"rate\":$3}" "$url/init"; }

same init "$(init "$product" 3 0 | body)" "{\"status\":\"ok\",\"msg\":\"Stock initialized for $product to 3\"}"

first=$(order "$product" ann one 1)
id=$(body <<<"$first" | sed -n 's/.*"orderId":"\([0-9a-f-]\{36\}\)".*/\1/p')
same accepted "$(status <<<"$first")" 200
same 'accepted, body' "$(body <<<"$first")" "{\"status\":\"success\",\"msg\":\"Order accepted\",\"orderId\":\"$id\"}"
[ -n "$id" ] || differs 'no order id'

# The acknowledged entry is deleted a moment later, and only then is a repeat known to be delivered.
for _ in {1..100}; do
  left=$(redis-cli -u "$redis" xlen "peer:{$product}:outbox")
  [ "$left" = 0 ] && break
  sleep 0.05
done
same 'entries in the outbox' "$left" 0
again=$(order "$product" ann one 1)
same repeated "$(status <<<"$again") $(field idempotency-replayed <<<"$again")" '200 true'
same 'repeated, body' "$(body <<<"$again")" "$(body <<<"$first")"
same 'key reused' "$(order "$product" ann one 2 | status)" 422
same insufficient "$(order "$product" bob two 3 | body)" '{"status":"insufficient","msg":"Not enough units left","available":2}'
same 'the rest' "$(order "$product" bob three 2 | status)" 200
sold_out=$(order "$product" bob four 1)
same 'sold out' "$(status <<<"$sold_out") $(body <<<"$sold_out")" '409 {"status":"sold_out","msg":"Inventory empty"}'
same 'stock in Redis' "$(redis-cli -u "$redis" get "peer:{$product}:stock")" 0

sleep 0.2 # GET /stock may be 100 ms old
stock=$(ask "$url/stock/$product")
same stock "$(body <<<"$stock")" "{\"productId\":\"$product\",\"available\":0,\"state\":\"sold_out\"}"
same 'stock, fields' "$(field content-type <<<"$stock") $(field cache-control <<<"$stock")" 'application/json no-store'
same 'unknown product' "$(ask "$url/stock/none" | status) $(order none ann one 1 | status)" '404 404'
same 'no key' "$(ask --json '{}' "$url/order" | body)" '{"error":"Missing Idempotency Key"}'
same 'no order' "$(order "$product" '' one 1 | status) $(order "$product" ann one 0 | status)" '400 400'

init "$product-slow" 100 1 >/dev/null
for n in 1 2 3 4; do slow=$(order "$product-slow" ann "$n" 1); done
same 'over the rate' "$(status <<<"$slow") $(field location <<<"$slow")" "302 http://localhost:4000/?product=$product-slow"

records=$(kcat -b "$kafka" -t "$topic" -C -e -q -o beginning | grep -c "\"productId\":\"$product\"" || true)
same 'records in the topic' "$records" 2
kcat -b "$kafka" -t "$topic" -C -e -q -o beginning | grep "$id" | python3 -c '
import json, sys
record = json.load(sys.stdin)
names = "orderId reservationId productId userId quantity saleId saleTotal generation timestamp"
assert list(record) == names.split(), list(record)
assert (record["userId"], record["quantity"], record["saleTotal"]) == ("ann", 1, 3), record
' || differs 'the record in the topic'

[ "$faulty" -eq 0 ] && echo "check: $program does the whole work"
exit "$faulty"
