package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	saleTotalMax = 1_000_000_000
	// How old an answer of GET /stock may be.
	stockAgeMax = 100 * time.Millisecond
)

// A sale as this process opened it. All but what was seen of its stock is fixed from then on.
type sale struct {
	product, idText, totalText string
	stockKey, outboxKey        string
	recordsKey                 string   // by user and key
	location                   []string // where those go who are over the rate
	limiter                    *rate.Limiter
	seen                       atomic.Pointer[look]
	looking                    sync.Mutex // one look at a time
}

// What was read of a sale's stock, and when.
type look struct {
	available int64
	at        time.Time
}

// POST /init: opens a sale under a new id, in place of the one before.
func (s *shop) initSale(w http.ResponseWriter, r *http.Request) {
	var body struct {
		ProductID string `json:"productId"`
		Quantity  int64  `json:"quantity"`
		Rate      int    `json:"rate"` // orders a second of this process; 0 is no limit
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyBytesMax)).Decode(&body); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if !isIdentifier(body.ProductID) || body.Quantity < 1 || body.Quantity > saleTotalMax || body.Rate < 0 {
		refuse(w, http.StatusBadRequest, "productId, quantity or rate out of range")
		return
	}
	id := strconv.FormatInt(time.Now().UnixMilli(), 10)
	sale := &sale{
		product:    body.ProductID,
		idText:     id,
		totalText:  strconv.FormatInt(body.Quantity, 10),
		stockKey:   "peer:{" + body.ProductID + "}:stock",
		outboxKey:  "peer:{" + body.ProductID + "}:outbox",
		recordsKey: "peer:{" + body.ProductID + "}:keys:" + id,
		location:   []string{waitingRoom + body.ProductID},
		limiter:    rate.NewLimiter(rate.Inf, 0),
	}
	if body.Rate > 0 {
		sale.limiter = rate.NewLimiter(rate.Limit(body.Rate), max(2, body.Rate))
	}
	sale.seen.Store(&look{body.Quantity, time.Now()})
	for _, result := range s.redis.DoMulti(context.Background(),
		s.redis.B().Del().Key(sale.outboxKey).Build(),
		s.redis.B().Set().Key(sale.stockKey).Value(sale.totalText).Build(),
	) {
		if err := result.Error(); err != nil {
			unavailableFor(w, unavailable)
			return
		}
	}
	s.sales.Store(sale.product, sale)
	answer(w, http.StatusOK, fmt.Appendf(nil, `{"status":"ok","msg":"Stock initialized for %s to %d"}`, sale.product, body.Quantity))
}

// GET /stock/{product}: from memory, or Redis where that is too old.
func (s *shop) stock(w http.ResponseWriter, r *http.Request) {
	sale := s.sale(r.PathValue("product"))
	if sale == nil {
		answer(w, http.StatusNotFound, unknownProduct)
		return
	}
	available, err := s.available(sale)
	if err != nil {
		unavailableFor(w, unavailable)
		return
	}
	state := `,"state":"open"}`
	if available == 0 {
		state = `,"state":"sold_out"}`
	}
	body := make([]byte, 0, 128)
	body = append(body, `{"productId":"`...)
	body = append(body, sale.product...)
	body = append(body, `","available":`...)
	body = strconv.AppendInt(body, available, 10)
	body = append(body, state...)
	w.Header()["Cache-Control"] = noStore
	answer(w, http.StatusOK, body)
}

// Units left, as they were at most stockAgeMax ago.
func (s *shop) available(sale *sale) (int64, error) {
	if seen := sale.seen.Load(); time.Since(seen.at) <= stockAgeMax {
		return seen.available, nil
	}
	sale.looking.Lock()
	defer sale.looking.Unlock()
	// Another request may have looked meanwhile.
	if seen := sale.seen.Load(); time.Since(seen.at) <= stockAgeMax {
		return seen.available, nil
	}
	at := time.Now()
	available, err := s.redis.Do(context.Background(), s.redis.B().Get().Key(sale.stockKey).Build()).AsInt64()
	if err != nil {
		return 0, err
	}
	sale.seen.Store(&look{available, at})
	return available, nil
}

func (s *shop) sale(product string) *sale {
	if found, ok := s.sales.Load(product); ok {
		return found.(*sale)
	}
	return nil
}
