// Command peer-go does the work of Flux-Gate's edge with net/http, rueidis and franz-go, to be measured beside it.
//
// It is what a careful Go service would ship for this: requests are pipelined to Redis by themselves, records gather for
// a millisecond, nothing waits on a timer of its own. It never relays what an earlier process left in the outbox.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"time"
)

const (
	// A service with a small live heap and many short-lived objects would otherwise collect dozens of times a second.
	collectAtPercent = 400

	headBytesMax    = 8 << 10
	headDurationMax = 5 * time.Second
	idleDurationMax = 15 * time.Second
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3000", "address to listen on")
	redis := flag.String("redis", "redis://127.0.0.1:6379", "redis://host:port, redis+unix:///path, or host:port")
	kafka := flag.String("kafka", "127.0.0.1:9092", "bootstrap brokers, comma between")
	topic := flag.String("topic", "orders", "topic of the orders; must exist")
	threads := flag.Int("threads", runtime.NumCPU(), "threads that run Go code at once")
	mode := flag.String("mode", "orders", "orders: the whole path; constant: the same small answers, no Redis, no Kafka")
	flag.Parse()
	if flag.NArg() != 0 || *threads < 1 {
		wrong("usage: peer-go [flags], --threads of at least 1")
	}

	runtime.GOMAXPROCS(*threads)
	debug.SetGCPercent(collectAtPercent)

	var handler http.Handler
	switch *mode {
	case "orders":
		shop, err := openShop(*redis, *kafka, *topic)
		if err != nil {
			wrong(err.Error())
		}
		handler = shop.routes()
	case "constant":
		handler = constant()
	default:
		wrong("--mode is orders or constant")
	}
	server := http.Server{
		Addr:              *listen,
		Handler:           handler,
		ReadHeaderTimeout: headDurationMax,
		IdleTimeout:       idleDurationMax,
		MaxHeaderBytes:    headBytesMax,
	}
	wrong(server.ListenAndServe().Error())
}

// Says what is wrong with the call or its surroundings, and ends.
func wrong(message string) {
	fmt.Fprintln(os.Stderr, "peer-go:", message)
	os.Exit(2)
}

// Answers of the size that the whole path gives, from memory.
func constant() http.Handler {
	stock := []byte(`{"productId":"bench","available":1000000000,"state":"open"}`)
	location := []string{waitingRoom + "trickle"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stock/{product}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Cache-Control"] = noStore
		answer(w, http.StatusOK, stock)
	})
	mux.HandleFunc("POST /order", func(w http.ResponseWriter, _ *http.Request) {
		redirect(w, location)
	})
	return mux
}
