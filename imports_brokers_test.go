//go:build brokers

package rowcall_test

func init() {
	tags = "brokers"
	rules = append(rules,
		rule{"gocloud.dev", []string{"rowcall/modules/bus/broker"}, "brokers are in one place"},
		rule{"rowcall/modules/bus/broker", []string{"rowcall/web/rowcall"}, "only the program knows which brokers there are"},
	)
}
