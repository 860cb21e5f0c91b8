package web

import "sync"

// streamLimit counts the open streams: in all, and of each reader.
type streamLimit struct {
	max, maxEach int

	mu     sync.Mutex
	open   int
	openOf map[identity]int
}

func newStreamLimit(max, maxEach int) *streamLimit {
	return &streamLimit{max: max, maxEach: maxEach, openOf: map[identity]int{}}
}

// tryAcquire says whether p may have one more stream. Each true wants one release.
func (l *streamLimit) tryAcquire(p principal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.max || l.openOf[p.identity] >= l.maxEach {
		return false
	}
	l.open++
	l.openOf[p.identity]++
	return true
}

func (l *streamLimit) release(p principal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.openOf[p.identity]--; l.openOf[p.identity] == 0 {
		delete(l.openOf, p.identity)
	}
}

func (l *streamLimit) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}
