package main

import (
	"fmt"
	"net/http"
)

// The product's name is added.
const waitingRoom = "http://localhost:4000/?product="

// Values of header fields, made once: http.Header.Set would make a slice for each.
var (
	mediaType = []string{"application/json"}
	noStore   = []string{"no-store"}
	one       = []string{"1"}
	yes       = []string{"true"}
)

var (
	soldOut        = []byte(`{"status":"sold_out","msg":"Inventory empty"}`)
	keyReused      = []byte(`{"error":"Idempotency key reused with a different order"}`)
	unknownProduct = []byte(`{"error":"Unknown product"}`)
	unavailable    = []byte(`{"status":"unavailable","msg":"Redis unavailable"}`)
	unknownOutcome = []byte(`{"status":"unknown","msg":"Outcome unknown, repeat with the same key"}`)
)

func answer(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = mediaType
	w.WriteHeader(status)
	// A client that has gone takes no answer, and there is nobody else to tell.
	_, _ = w.Write(body)
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, fmt.Appendf(nil, `{"error":%q}`, why))
}

func redirect(w http.ResponseWriter, location []string) {
	header := w.Header()
	header["Location"] = location
	header["Cache-Control"] = noStore
	w.WriteHeader(http.StatusFound)
}

func accepted(w http.ResponseWriter, orderID string, replayed bool) {
	if replayed {
		w.Header()["Idempotency-Replayed"] = yes
	}
	answer(w, http.StatusOK, []byte(`{"status":"success","msg":"Order accepted","orderId":"`+orderID+`"}`))
}

func pending(w http.ResponseWriter, orderID string, replayed bool) {
	if replayed {
		w.Header()["Idempotency-Replayed"] = yes
	}
	w.Header()["Retry-After"] = one
	answer(w, http.StatusAccepted, []byte(`{"status":"pending","msg":"Order reserved","orderId":"`+orderID+`"}`))
}

func unavailableFor(w http.ResponseWriter, body []byte) {
	w.Header()["Retry-After"] = one
	answer(w, http.StatusServiceUnavailable, body)
}
