package auth

import "container/list"

// lru is a map that holds at most limit entries and forgets the one that was set or read longest ago. It does not lock.
type lru[K comparable, V any] struct {
	limit int
	order *list.List // front: latest
	byKey map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), byKey: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.byKey[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

func (l *lru[K, V]) set(k K, v V) {
	if e, ok := l.byKey[k]; ok {
		e.Value.(*lruEntry[K, V]).value = v
		l.order.MoveToFront(e)
		return
	}
	for len(l.byKey) >= l.limit {
		last := l.order.Back()
		l.order.Remove(last)
		delete(l.byKey, last.Value.(*lruEntry[K, V]).key)
	}
	l.byKey[k] = l.order.PushFront(&lruEntry[K, V]{k, v})
}
