package storagetest

import (
	"testing"

	"github.com/grantd/grantd/storage"
)

var keyChecks = []check{
	{"deployment keys are listed by id with every field", keyList},
	{"a key id is taken once", keyTaken},
	{"a deleted key is gone", keyDelete},
}

func newKey(f Fixture, id byte) storage.Key {
	return storage.Key{ID: id, Sealed: []byte{0, 255, id, '\n', 0}, Created: f.Now()}
}

func createdKey(t *testing.T, f Fixture, id byte) storage.Key {
	t.Helper()
	k := newKey(f, id)
	wantErr(t, "CreateKey", f.Store.CreateKey(t.Context(), k), nil)
	return k
}

func wantKeys(t *testing.T, f Fixture, want ...storage.Key) {
	t.Helper()
	got, err := f.Store.ListKeys(t.Context())
	wantErr(t, "ListKeys", err, nil)
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := diff(want, got); d != "" {
		t.Fatalf("keys (-kept +listed):\n%s", d)
	}
}

func keyList(t *testing.T, f Fixture) {
	wantKeys(t, f)
	k200, k2, k10, k0, k255 := createdKey(t, f, 200), createdKey(t, f, 2), createdKey(t, f, 10), createdKey(t, f, 0), createdKey(t, f, 255)
	wantKeys(t, f, k0, k2, k10, k200, k255)
}

func keyTaken(t *testing.T, f Fixture) {
	k := createdKey(t, f, 1)
	other := newKey(f, 1)
	other.Sealed = []byte("another")
	wantErr(t, "CreateKey", f.Store.CreateKey(t.Context(), other), storage.ErrExists)
	wantKeys(t, f, k)

	keys := make([]storage.Key, 20)
	for i := range keys {
		keys[i] = newKey(f, 2)
		keys[i].Sealed = []byte{byte(i)}
	}
	errs := concurrently(len(keys), func(i int) error { return f.Store.CreateKey(t.Context(), keys[i]) })
	wantKeys(t, f, k, keys[wantOneWinner(t, errs, storage.ErrExists)])
}

func keyDelete(t *testing.T, f Fixture) {
	createdKey(t, f, 1)
	k := createdKey(t, f, 2)
	for range 2 {
		wantErr(t, "DeleteKey", f.Store.DeleteKey(t.Context(), 1), nil)
	}
	wantKeys(t, f, k)
}
