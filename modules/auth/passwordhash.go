package auth

import (
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// The schemes of stored passwords, by what the stored text starts with.
const (
	scheme01 = "#01#" // legacy: <salt>$<sum>, a UUID as text and an HMAC-SHA512 as base64url
	scheme02 = "#02#" // current: the PHC string of an Argon2id
)

// argonParams are the costs of an Argon2id: memory in KiB, passes over it, and lanes.
type argonParams struct {
	memory, time uint32
	threads      uint8
}

// currentParams are the least that OWASP recommends (Password Storage Cheat Sheet, Argon2id). They are part of each hash,
// so they can be raised here: a stored password gets the new ones at its next login.
var currentParams = argonParams{memory: 19 << 10, time: 2, threads: 1}

// Sizes of a new hash in bytes (RFC 9106, section 3.1).
const (
	saltSize = 16
	sumSize  = 32
)

// The bounds within which a stored hash is believed: a damaged text must not make the server allocate gigabytes.
const (
	minLaneMemory = 8 // KiB (RFC 9106, section 3.1)
	maxMemory     = 256 << 10
	maxTime       = 64
	maxThreads    = 16
	minSalt       = 8
	minSum        = 16
	maxSaltOrSum  = 64
)

// minus returns costs whose work (memory filled, times passes) is what a's is beyond b's, and whether there is any.
func (a argonParams) minus(b argonParams) (rest argonParams, some bool) {
	done := uint64(b.memory) * uint64(b.time) / uint64(a.time)
	if done >= uint64(a.memory) {
		return argonParams{}, false
	}
	a.memory -= uint32(done)
	return a, true
}

// argonHash is the parsed text of scheme #02# (github.com/P-H-C/phc-string-format):
//
//	$argon2id$v=19$m=19456,t=2,p=1$<salt>$<sum>
type argonHash struct {
	params    argonParams
	salt, sum []byte
}

const (
	phcAlgorithm = "argon2id"
	phcVersion   = "v=19"
)

var phcBase64 = base64.RawStdEncoding.Strict()

func (h argonHash) String() string {
	return fmt.Sprintf("$%s$%s$%v$%s$%s", phcAlgorithm, phcVersion, h.params, phcBase64.EncodeToString(h.salt), phcBase64.EncodeToString(h.sum))
}

func (a argonParams) String() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", a.memory, a.time, a.threads)
}

// cutScheme returns a stored text's scheme and what follows it. A text of no known scheme is all text.
func cutScheme(stored string) (text, scheme string) {
	for _, scheme := range []string{scheme02, scheme01} {
		if text, ok := strings.CutPrefix(stored, scheme); ok {
			return text, scheme
		}
	}
	return stored, ""
}

// parseArgonHash takes the texts that String makes, and no others.
func parseArgonHash(text string) (h argonHash, ok bool) {
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != phcAlgorithm || parts[2] != phcVersion {
		return argonHash{}, false
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return argonHash{}, false
	}
	threads := cost(costs[2], "p=", 1, maxThreads)
	h.params = argonParams{
		memory:  cost(costs[0], "m=", max(1, threads)*minLaneMemory, maxMemory),
		time:    cost(costs[1], "t=", 1, maxTime),
		threads: uint8(threads),
	}
	var saltErr, sumErr error
	h.salt, saltErr = phcBase64.DecodeString(parts[4])
	h.sum, sumErr = phcBase64.DecodeString(parts[5])
	ok = saltErr == nil && sumErr == nil && h.params.memory > 0 && h.params.time > 0 && threads > 0 &&
		len(h.salt) >= minSalt && len(h.salt) <= maxSaltOrSum && len(h.sum) >= minSum && len(h.sum) <= maxSaltOrSum &&
		h.String() == text
	return h, ok
}

// cost returns the number after prefix, or 0 for none from least to most.
func cost(text, prefix string, least, most uint32) uint32 {
	digits, ok := strings.CutPrefix(text, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || n < uint64(least) || n > uint64(most) {
		return 0
	}
	return uint32(n)
}

// legacyHash is the parsed text of scheme #01#. The salt, which the legacy schema keeps beside the hash as a UUID, is
// taken over in SQL: '#01#' || pwd_salt || '$' || substr(pwd, 5).
type legacyHash struct {
	salt uuid.UUID
	sum  []byte
}

func parseLegacyHash(text string) (h legacyHash, ok bool) {
	salt, sum, _ := strings.Cut(text, "$")
	var saltErr, sumErr error
	h.salt, saltErr = uuid.Parse(salt)
	h.sum, sumErr = base64url.DecodeString(sum)
	return h, saltErr == nil && sumErr == nil && len(h.sum) == sha512.Size && h.salt.String() == salt
}
