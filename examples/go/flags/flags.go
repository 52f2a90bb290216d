package main

import (
	"cmp"
	"encoding/json"
	"log"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// In the order in which a combined scope names them.
var dimensions = []string{"user", "org", "service", "provider", "model", "agent", "campaign", "feature", "product"}

var joint = regexp.MustCompile(`(\+|%(?:25)*2B)(?:` + strings.Join(dimensions, "|") + `)/`)

// A Flag is the current decision for a scope, as far as a reader needs it.
type Flag struct {
	Scope    string     `json:"scope"`
	Blocked  bool       `json:"blocked"`
	Reason   string     `json:"reason"`
	Until    *time.Time `json:"until"`
	Except   []string   `json:"except"`
	Revision int64      `json:"revision"`
}

func (f Flag) stops() bool { return f.Reason == "spending_stopped" }

func (f Flag) inForce(now time.Time) bool {
	return f.Blocked && (f.Until == nil || now.Before(*f.Until))
}

// A Decision is the answer for one call. Without Allowed, answer your caller with HTTPStatus and Error.
type Decision struct {
	Allowed           bool   `json:"allowed"`
	HTTPStatus        int    `json:"http_status,omitempty"`
	Error             string `json:"error,omitempty"`
	Scope             string `json:"scope,omitempty"`
	RetryAfterSeconds int64  `json:"retry_after_seconds,omitempty"`
}

// Flags are all flags by their scope.
type Flags struct {
	mutex sync.RWMutex
	flags map[string]Flag
}

// NewFlags has none.
func NewFlags() *Flags { return &Flags{flags: map[string]Flag{}} }

// Take takes in one record. The last one of a scope counts; an older revision can only be a repeat.
func (f *Flags) Take(scope string, value []byte) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if value == nil {
		delete(f.flags, scope)
		return
	}
	var flag Flag
	if err := json.Unmarshal(value, &flag); err != nil {
		log.Printf("ignored a record that is no flag: %v", err)
		return
	}
	if flag.Revision >= f.flags[scope].Revision {
		f.flags[scope] = flag
	}
}

// Check says whether a call with these names may go ahead now.
func (f *Flags) Check(call map[string]string) Decision {
	now, scopes := time.Now(), scopesOf(call)
	f.mutex.RLock()
	defer f.mutex.RUnlock()
	var blocking []Flag
	for _, scope := range append([]string{"global"}, scopes...) {
		excepted := func(other string) bool { return slices.Contains(scopes, other) }
		if flag := f.flags[scope]; flag.inForce(now) && !slices.ContainsFunc(flag.Except, excepted) {
			blocking = append(blocking, flag)
		}
	}
	if len(blocking) == 0 {
		return Decision{Allowed: true}
	}
	// A stop of all spending is told first, and then the block that lasts longest.
	flag := slices.MaxFunc(blocking, func(a, b Flag) int { return cmp.Compare(a.rank(), b.rank()) })
	decision := Decision{HTTPStatus: 429, Error: "usage_limit_exceeded", Scope: flag.Scope}
	if flag.stops() {
		decision.HTTPStatus, decision.Error = 503, "spending_stopped"
	}
	// A lifetime ends in the year 9999, which is no time to wait for.
	if flag.Until != nil && flag.Until.Year() < 3000 {
		decision.RetryAfterSeconds = int64(math.Ceil(flag.Until.Sub(now).Seconds()))
	}
	return decision
}

func (f Flag) rank() float64 {
	switch {
	case f.stops():
		return math.Inf(1)
	case f.Until == nil:
		return math.MaxFloat64
	default:
		return float64(f.Until.UnixMilli())
	}
}

// scopesOf has the single scopes of a call, such as user/u-42, and their combinations of two and three.
func scopesOf(call map[string]string) []string {
	var singles, pairs, triples []string
	for _, dimension := range dimensions {
		if name := call[dimension]; name != "" {
			singles = append(singles, dimension+"/"+escaped(name))
		}
	}
	for i, a := range singles {
		for j, b := range singles[i+1:] {
			pairs = append(pairs, a+"+"+b)
			for _, c := range singles[i+j+2:] {
				triples = append(triples, a+"+"+b+"+"+c)
			}
		}
	}
	return slices.Concat(singles, pairs, triples)
}

// escaped is the name as it stands in a scope: a plus that would look like the joint of two names is escaped.
func escaped(name string) string {
	return joint.ReplaceAllStringFunc(name, func(found string) string {
		if found[0] == '+' {
			return "%2B" + found[1:]
		}
		return "%25" + found[1:]
	})
}
