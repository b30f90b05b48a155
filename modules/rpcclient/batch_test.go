package rpcclient_test

import (
	"slices"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

func TestAtomicBatchRenews(t *testing.T) {
	t.Parallel()
	denied := `{"id":0,"error":{"code":4010,"message":"No","data":{"kind":"UNAUTHENTICATED"}}}`
	aborted := `{"id":0,"error":{"code":4310,"message":"No","data":{"kind":"ABORTED"}}}`
	for _, body := range []string{"[" + denied + "," + aborted + "]", "[" + aborted + "," + denied + "]"} {
		ss := &sessions{}
		answered := false
		s, c := newClient(func(r request, n int) reply {
			if r.path == "/api/rpc" && !answered {
				answered = true
				return reply{200, body}
			}
			return ss.answer(r, n)
		})
		if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
			t.Fatal(err)
		}
		s.paths()
		b := rpcclient.Batch{Atomic: true}
		write.In(&b, params{1})
		write.In(&b, params{2})
		err := b.Run(t.Context(), c)
		if got := s.paths(); err != nil || !slices.Equal(got, []string{"/api/rpc", "/api/refresh", "/api/rpc"}) {
			t.Errorf("%v, sent %v", err, got)
		}
	}
}

func TestBatchRefusedAsOne(t *testing.T) {
	t.Parallel()
	_, c := newClient(func(request, int) reply { return refuse(200, apperr.InvalidRequest, "") })
	var b rpcclient.Batch
	for range 101 {
		read.In(&b, params{1})
	}
	if err := b.Run(t.Context(), c); rpcclient.KindOf(err) != apperr.InvalidRequest {
		t.Errorf("%v", err)
	}
}
