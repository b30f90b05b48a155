package auth

import (
	"strings"
	"unicode/utf8"
)

// common tells whether a password is among those of MinPassword characters and more that lists of leaked ones have at
// their top, in any case, or is one character throughout. As failed logins are limited, only the very first guesses
// matter, and a short list stops them.
func common(pwd string) bool {
	first, _ := utf8.DecodeRuneInString(pwd)
	return commonPasswords[strings.ToLower(pwd)] || strings.Trim(pwd, string(first)) == ""
}

var commonPasswords = func() map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(`
		12345678 123456789 1234567890 87654321 987654321 0987654321 0123456789 12341234 11223344 1122334455 12344321
		123123123 123321123 147258369 789456123 31415926 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345
		1q2w3e4r 1q2w3e4r5t q1w2e3r4 1qaz2wsx zaq12wsx asdfghjk asdfghjkl zxcvbnm1 asdf1234 qazwsxedc 1234qwer
		abcd1234 abc12345 a1b2c3d4 a1234567 aa123456 abcdefgh abcdefg1
		password password1 password12 password123 passw0rd p@ssw0rd p@ssword pa55word mypassword changeme changeme1
		administrator admin123 admin1234 adminadmin welcome1 welcome12 welcome123 letmein1 letmein123 trustno1
		iloveyou iloveyou1 sunshine princess football baseball basketball superman starwars pokemon1 computer internet
		whatever michelle jennifer samantha victoria charlotte jonathan november december september liverpool
		test1234 testtest secret123 default1 guest123 dragon12 monkey12 shadow12 master12`) {
		set[word] = true
	}
	return set
}()
