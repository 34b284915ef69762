package client

import (
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Domain is the domain of the ErrorInfo in every error that a Segue server makes.
const Domain = "segue.v1"

// Violation is one broken rule of one field of a request.
type Violation struct {
	// Field is the path of the field in the request, such as "items[3].vector".
	Field string
	// Reason is a name of seguev1.ErrorReason without its prefix, such as "DIMENSION_MISMATCH".
	Reason string
	// Rule says in words what was expected and what was seen.
	Rule string
}

// Reason returns the reason a Segue server gave for err, such as "ITEM_NOT_FOUND": a name of
// seguev1.ErrorReason without its prefix. It is empty where err is nil or came from elsewhere: from
// gRPC itself, from a proxy, from this side.
func Reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info.GetReason()
		}
	}
	return ""
}

// Violations returns the broken rules that an INVALID_ARGUMENT error lists, in the server's order.
func Violations(err error) []Violation {
	var list []Violation
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				list = append(list, Violation{Field: v.GetField(), Reason: v.GetReason(), Rule: v.GetDescription()})
			}
		}
	}
	return list
}
