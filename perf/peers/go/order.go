package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/rueidis"
	"github.com/twmb/franz-go/pkg/kgo"

	"flux-gate/peers"
)

const (
	identifierBytesMax = 64
	quantityMax        = 1000
	bodyBytesMax       = 4 << 10
	redisDeadline      = 500 * time.Millisecond
	publishDeadline    = 2 * time.Second
	linger             = time.Millisecond
	// Entries that wait to leave the outbox: a second's worth and more; then requests wait for their place.
	removalsMax = 64 << 10
	// Entries of one XDEL.
	removalEntriesMax = 512
)

// What all requests share.
type shop struct {
	redis    rueidis.Client
	reserve  *rueidis.Lua
	kafka    *kgo.Client
	sales    sync.Map // product → *sale
	removals chan removal
}

// An outbox entry that Kafka has acknowledged.
type removal struct{ outboxKey, entry string }

// Connects; the caller serves its routes until the process ends.
func openShop(redisAddress, brokers, topic string) (*shop, error) {
	options, err := rueidis.ParseURL(redisURL(redisAddress))
	if err != nil {
		return nil, err
	}
	options.DisableCache = true
	options.ForceSingleClient = true
	options.ConnWriteTimeout = redisDeadline
	options.PipelineMultiplex = onePipeline
	options.MaxFlushDelay = flushDelay
	redis, err := rueidis.NewClient(options)
	if err != nil {
		return nil, err
	}
	kafka, err := kgo.NewClient(
		kgo.SeedBrokers(strings.Split(brokers, ",")...),
		kgo.DefaultProduceTopic(topic),
		kgo.RequiredAcks(kgo.AllISRAcks()), // idempotent, as ever unless it is switched off
		kgo.ProducerLinger(linger),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // as the edge does
		kgo.RecordDeliveryTimeout(publishDeadline),
	)
	if err != nil {
		return nil, err
	}
	s := &shop{
		redis:    redis,
		reserve:  rueidis.NewLuaScript(peers.Reserve),
		kafka:    kafka,
		removals: make(chan removal, removalsMax),
	}
	go s.clearOutbox()
	return s, nil
}

// One connection: Redis is one thread, and a second connection only halves what each of its reads finds.
const onePipeline = -1

// How long the pipeline gathers commands after a flush; what rueidis recommends where CPU counts.
const flushDelay = 20 * time.Microsecond

func redisURL(address string) string {
	if !strings.Contains(address, "://") {
		return "redis://" + address
	}
	return strings.TrimPrefix(address, "redis+")
}

func (s *shop) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /order", s.order)
	mux.HandleFunc("GET /stock/{product}", s.stock)
	mux.HandleFunc("POST /init", s.initSale)
	return mux
}

type orderBody struct {
	ProductID string `json:"productId"`
	UserID    string `json:"userId"`
	Quantity  *int   `json:"quantity"`
}

// POST /order, from top to bottom.
func (s *shop) order(w http.ResponseWriter, r *http.Request) {
	key := r.Header.Get("X-Idempotency-Key")
	if key == "" {
		key = strings.Trim(r.Header.Get("Idempotency-Key"), `"`)
	}
	if !isIdentifier(key) {
		refuse(w, http.StatusBadRequest, "Missing Idempotency Key")
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyBytesMax))
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	var body orderBody
	if err := json.Unmarshal(text, &body); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	quantity := 1
	if body.Quantity != nil {
		quantity = *body.Quantity
	}
	if !isIdentifier(body.ProductID) || !isIdentifier(body.UserID) || quantity < 1 || quantity > quantityMax {
		refuse(w, http.StatusBadRequest, "productId, userId or quantity out of range")
		return
	}
	sale := s.sale(body.ProductID)
	if sale == nil {
		answer(w, http.StatusNotFound, unknownProduct)
		return
	}
	if !sale.limiter.Allow() {
		redirect(w, sale.location)
		return
	}

	orderID := uuid.NewString()
	quantityText := strconv.Itoa(quantity)
	timestamp := strconv.FormatInt(time.Now().UnixMilli(), 10)
	// Not the request's context: a buyer who hangs up must not cancel what is reserved for them.
	reply, err := s.reserve.Exec(context.Background(), s.redis,
		[]string{sale.stockKey, sale.outboxKey, sale.recordsKey},
		[]string{orderID, quantityText, body.UserID + ":" + key, orderID + " " + quantityText + " " + body.UserID + " " + timestamp},
	).ToString()
	if err != nil {
		refused := new(rueidis.RedisError)
		if errors.As(err, &refused) {
			unavailableFor(w, unavailable)
		} else {
			unavailableFor(w, unknownOutcome)
		}
		return
	}
	rest := reply[1:]
	switch reply[0] {
	case '+':
		s.publish(w, sale, orderID, rest, record(sale, orderID, body.UserID, quantityText, timestamp))
	case 'R':
		accepted(w, rest, true)
	case 'P':
		pending(w, rest, true)
	case 'K':
		answer(w, http.StatusUnprocessableEntity, keyReused)
	case '0':
		answer(w, http.StatusConflict, soldOut)
	case 'I':
		answer(w, http.StatusConflict, []byte(`{"status":"insufficient","msg":"Not enough units left","available":`+rest+`}`))
	default:
		answer(w, http.StatusNotFound, unknownProduct)
	}
}

// Puts a reserved order into the topic, and answers when Kafka has it.
func (s *shop) publish(w http.ResponseWriter, sale *sale, orderID, entry string, value []byte) {
	acknowledged := make(chan error, 1)
	s.kafka.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
		acknowledged <- err
	})
	if err := <-acknowledged; err != nil {
		pending(w, orderID, false)
		return
	}
	s.removals <- removal{sale.outboxKey, entry}
	accepted(w, orderID, false)
}

// Deletes acknowledged entries, as many at once as there are.
func (s *shop) clearOutbox() {
	entries := make(map[string][]string) // by outbox
	for first := range s.removals {
		entries[first.outboxKey] = append(entries[first.outboxKey], first.entry)
	gather:
		for count := 1; count < removalEntriesMax; count++ {
			select {
			case next := <-s.removals:
				entries[next.outboxKey] = append(entries[next.outboxKey], next.entry)
			default:
				break gather
			}
		}
		for outboxKey, of := range entries {
			if err := s.redis.Do(context.Background(), s.redis.B().Xdel().Key(outboxKey).Id(of...).Build()).Error(); err != nil {
				log.Printf("%d entries stay in %s: %v", len(of), outboxKey, err)
			}
		}
		clear(entries)
	}
}

// The topic's record, with the members that the edge writes. Nothing in it needs escaping.
func record(sale *sale, orderID, userID, quantity, timestamp string) []byte {
	value := make([]byte, 0, 384)
	value = append(value, `{"orderId":"`...)
	value = append(value, orderID...)
	value = append(value, `","reservationId":"`...)
	value = append(value, orderID...)
	value = append(value, `","productId":"`...)
	value = append(value, sale.product...)
	value = append(value, `","userId":"`...)
	value = append(value, userID...)
	value = append(value, `","quantity":`...)
	value = append(value, quantity...)
	value = append(value, `,"saleId":`...)
	value = append(value, sale.idText...)
	value = append(value, `,"saleTotal":`...)
	value = append(value, sale.totalText...)
	value = append(value, `,"generation":1,"timestamp":`...)
	value = append(value, timestamp...)
	return append(value, '}')
}

// Whether it is 1 to 64 of A-Z a-z 0-9 . _ : -
func isIdentifier(text string) bool {
	if len(text) < 1 || len(text) > identifierBytesMax {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}
