package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
)

const cookieName = "auth-token"

// authenticate returns the actor of the request's credential; nil without any: an anonymous caller. A credential that does
// not hold is UNAUTHENTICATED; a cookie that another site sent along is FORBIDDEN.
func (s *Server) authenticate(c *gin.Context) (*auth.Actor, error) {
	credential, err := credentialOf(c.Request)
	if err != nil || credential == "" {
		return nil, err
	}
	return s.actorOf(c.Request.Context(), credential)
}

func (s *Server) actorOf(ctx context.Context, credential string) (*auth.Actor, error) {
	if auth.IsAPIKey(credential) {
		return s.Authn.ByAPIKey(ctx, credential)
	}
	return s.Authn.ByToken(ctx, credential)
}

// credentialOf returns the token or the API key of the first scheme for which the request has one, in the contract's order:
// Authorization, X-Api-Key, the cookie; "" without any.
func credentialOf(r *http.Request) (string, error) {
	if header, ok := r.Header["Authorization"]; ok {
		scheme, credential, _ := strings.Cut(header[0], " ")
		if credential = strings.TrimSpace(credential); credential == "" || !strings.EqualFold(scheme, "Bearer") || len(header) > 1 {
			return "", apperr.New(apperr.Unauthenticated, "Authorization must be Bearer and a token or an API key")
		}
		return credential, nil
	}
	if header, ok := r.Header["X-Api-Key"]; ok {
		_, err := auth.HashAPIKey(header[0])
		return header[0], err
	}
	if cookie, err := r.Cookie(cookieName); err == nil && cookie.Value != "" {
		if auth.IsAPIKey(cookie.Value) {
			return "", auth.Denied(nil)
		}
		return cookie.Value, sameOrigin(r)
	}
	return "", nil
}

// sameOrigin refuses what a browser sends for a page of another site. Requests that do not come from a browser pass.
func sameOrigin(r *http.Request) error {
	asked := *r
	asked.Method = http.MethodPost // the check lets every GET pass, and a stream is one that other sites must not open
	var protection http.CrossOriginProtection
	if err := protection.Check(&asked); err != nil {
		return apperr.Wrap(apperr.Forbidden, "A cookie is not taken from a page of another origin", err)
	}
	return nil
}

type loginRequest struct {
	Username *string `json:"username"`
	Pwd      *string `json:"pwd"`
	Tenant   string  `json:"tenant"`
}

func (s *Server) login(c *gin.Context) {
	var in loginRequest
	if !read(c, &in) || missing(c, "username", in.Username == nil) || missing(c, "pwd", in.Pwd == nil) {
		return
	}
	grant, err := s.Authn.Login(c.Request.Context(), model.Credentials{Username: *in.Username, Pwd: *in.Pwd, Tenant: in.Tenant})
	s.granted(c, grant, err)
}

type refreshRequest struct {
	RefreshToken *string `json:"refresh_token"`
}

func (s *Server) refresh(c *gin.Context) {
	var in refreshRequest
	if !read(c, &in) || missing(c, "refresh_token", in.RefreshToken == nil) {
		return
	}
	grant, err := s.Authn.Refresh(c.Request.Context(), *in.RefreshToken)
	s.granted(c, grant, err)
}

type granted struct {
	Success bool `json:"success"`
	model.Grant
}

func (s *Server) granted(c *gin.Context, grant model.Grant, err error) {
	if err != nil {
		refuseAs(c, err)
		return
	}
	observed(c).request.Actor = &auth.Actor{TenantSlug: grant.Tenant.Slug, User: grant.User.ID} // for the log line
	cookie := newCookie(c.Request, grant.Token)
	cookie.Expires = grant.ExpiresAt
	http.SetCookie(c.Writer, cookie)
	result(c, granted{true, grant})
}

type logoffRequest struct {
	Logoff *bool `json:"logoff"`
}

type loggedOff struct {
	LoggedOff bool `json:"logged_off"`
}

func (s *Server) logoff(c *gin.Context) {
	var in logoffRequest
	if !read(c, &in) || missing(c, "logoff", in.Logoff == nil) {
		return
	}
	actor, err := s.authenticate(c)
	if err == nil && actor == nil {
		err = apperr.New(apperr.Unauthenticated, "There is no login to end")
	}
	if err == nil && *in.Logoff {
		observed(c).request.Actor = actor
		err = s.Authn.Logoff(c.Request.Context(), actor)
	}
	if err != nil {
		refuseAs(c, err)
		return
	}
	if *in.Logoff {
		cookie := newCookie(c.Request, "")
		cookie.MaxAge = -1
		http.SetCookie(c.Writer, cookie)
	}
	result(c, loggedOff{*in.Logoff})
}

// read decodes a request's body, one JSON object; when it cannot, it has answered and returns false.
func read(c *gin.Context, in any) bool {
	if !isJSON(c.GetHeader("Content-Type")) {
		refuse(c, http.StatusUnsupportedMediaType, errContentType)
		return false
	}
	body, ok := readBody(c)
	if !ok {
		return false
	}
	err := json.Unmarshal(body, in, json.RejectUnknownMembers(true))
	var wrong *json.SemanticError
	switch {
	case err == nil && jsontext.Value(body).Kind() == '{':
		return true
	case err == nil:
		err = apperr.Invalid(apperr.Issue{Reason: "the body must be an object"})
	case errors.As(err, &wrong):
		path := strings.TrimPrefix(string(wrong.JSONPointer), "/")
		err = apperr.Invalid(apperr.Issue{Path: path, Reason: "is unknown or of a wrong type"})
	default:
		err = apperr.Wrap(apperr.ParseError, "The body is not JSON", err)
	}
	refuseAs(c, err)
	return false
}

// missing refuses a request that lacks a member.
func missing(c *gin.Context, name string, is bool) bool {
	if is {
		refuseAs(c, apperr.Invalid(apperr.Issue{Path: name, Reason: "is required"}))
	}
	return is
}

// result answers with {"result": …}.
func result(c *gin.Context, v any) {
	body, err := jsonrpc.Marshal(map[string]any{"result": v})
	if err != nil {
		refuseAs(c, err)
		return
	}
	answer(c, http.StatusOK, body)
}

func newCookie(r *http.Request, value string) *http.Cookie {
	return &http.Cookie{Name: cookieName, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, Secure: !toLoopback(r)}
}

// toLoopback tells whether the request was addressed to this machine itself, where browsers are content without TLS.
func toLoopback(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && ip.IsLoopback()
}
