package storage_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/grantd/grantd/storage"
)

// fill gives every field of a record a value, lists and bytes included. So fields that are
// added later are tested too.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(signIn))
			return
		}
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0))
		fill(t, v.Index(1))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint64:
		v.SetUint(7)
	case reflect.Int64:
		v.SetInt(7)
	default:
		t.Fatalf("a %v can't be filled", v.Type())
	}
}

func TestADecodedClientIsACopy(t *testing.T) {
	var want storage.Client
	fill(t, reflect.ValueOf(&want).Elem())
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var d storage.ClientDecoder
	for range 3 {
		var got storage.Client
		if err := d.Decode(text, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, %v; want %+v", got, err, want)
		}
		clear(got.Secret.Salt)
		clear(got.Secret.Hash)
		clear(got.PreviousSecret.Salt)
		clear(got.PreviousSecret.Hash)
		clear(got.Grants)
		clear(got.Scopes)
		clear(got.RedirectURIs)
		clear(got.Audiences)
		clear(got.Origins)
		if fields := reflect.ValueOf(got); lists(fields) != 9 {
			t.Fatalf("a client has %d lists, and 9 are cleared here", lists(fields))
		}
	}
}

// lists counts the slices of a record.
func lists(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Slice:
		return 1
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return 0
		}
		for i := range v.NumField() {
			n += lists(v.Field(i))
		}
	}
	return n
}

func TestAClientThatCantBeReadIsRefusedEveryTime(t *testing.T) {
	var d storage.ClientDecoder
	for range 2 {
		for _, text := range []string{"", "{", `{"id":"web","restricted":true}`, `{"id":7}`, `{"id":"web"} `} {
			var c storage.Client
			if err := d.Decode([]byte(text), &c); !errors.Is(err, storage.ErrUnreadable) {
				t.Errorf("%q: %v, want ErrUnreadable", text, err)
			}
		}
	}
}

func TestManyTextsAreDecodedConcurrently(t *testing.T) {
	var d storage.ClientDecoder
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := range 3000 {
				id := fmt.Sprint("client ", (worker+i)%1500)
				var c storage.Client
				if err := d.Decode(fmt.Appendf(nil, `{"id":%q}`, id), &c); err != nil || c.ID != id {
					t.Errorf("%s: %q, %v", id, c.ID, err)
				}
			}
		})
	}
	wg.Wait()
}
