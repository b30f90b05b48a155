//go:build brokers

package rowcall_test

func init() {
	tags = "brokers"
	rules = append(rules, rule{"gocloud.dev", []string{"rowcall/modules/bus/broker"}, "brokers are half as much again of the program, for those who ask for them"})
}
