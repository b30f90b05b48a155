package changelog

import "github.com/google/uuid"

// MaxTail and MaxBehind are bounds that tests pass.
const (
	MaxTail   = maxTail
	MaxBehind = maxBehind
)

// Tail returns how many entries the hub keeps for a tenant, and the position up to which it has read; -1 if it has no feed.
func (h *Hub) Tail(tenant uuid.UUID) (entries int, position int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := h.feeds[tenant]
	if f == nil {
		return -1, 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.items), f.last
}
