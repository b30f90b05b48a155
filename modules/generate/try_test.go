package generate
import ("testing";"os")
func TestTry(t *testing.T){ b,_:=os.ReadFile("testdata/openrpc.json")
os.MkdirAll("../../clients/go/api",0o755)
out,err:=TypeScript(b); if err!=nil {t.Fatal(err)}; os.WriteFile("../../clients/ts/src/api.ts",out,0o644)
out,err=Go(b,"api"); if err!=nil {t.Fatal(err)}; os.WriteFile("../../clients/go/api/api.go",out,0o644)
}
