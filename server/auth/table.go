package auth

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Package is the protobuf package whose methods declare their access.
const Package = "segue.v1"

// Rule is what one method asks of its caller.
type Rule struct {
	// Public methods need no identity.
	Public bool
	// Role is the least role that may call, unless Public.
	Role seguev1.Role
	// Anywhere: the role may be granted for any collection; the call is about none.
	Anywhere bool
	// Priority says when the call is shed; 0 is never.
	Priority seguev1.Priority

	// path leads from the request to the name of the collection; empty where the call is about the whole server.
	path []protoreflect.FieldDescriptor
}

// Table holds the rule of every method that may be called.
type Table struct{ rules map[string]*Rule }

// NewTable reads the rules of all methods of segue.v1 that the program is linked with, and adds those of the gRPC
// library's services: health is public, reflection is for whoever may read anything. The error names every method
// that does not declare its access, or wrongly.
func NewTable() (*Table, error) {
	t := &Table{rules: map[string]*Rule{}}
	for _, method := range []string{"Check", "List", "Watch"} {
		t.rules["/grpc.health.v1.Health/"+method] = &Rule{Public: true}
	}
	for _, version := range []string{"v1", "v1alpha"} {
		t.rules["/grpc.reflection."+version+".ServerReflection/ServerReflectionInfo"] = &Rule{Role: seguev1.Role_ROLE_READ, Anywhere: true}
	}
	var errs []error
	protoregistry.GlobalFiles.RangeFilesByPackage(Package, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				errs = append(errs, t.add(methods.Get(j)))
			}
		}
		return true
	})
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Table) add(m protoreflect.MethodDescriptor) error {
	access, ok := proto.GetExtension(m.Options(), seguev1.E_Access).(*seguev1.Access)
	if !ok || access.GetRole() == seguev1.Role_ROLE_UNSPECIFIED || access.GetPriority() == seguev1.Priority_PRIORITY_UNSPECIFIED {
		return fmt.Errorf("auth: %s declares no role and priority in option (segue.v1.access)", m.FullName())
	}
	path, err := fieldPath(m.Input(), access.GetCollection())
	if err != nil {
		return fmt.Errorf("auth: %s: collection: %w", m.FullName(), err)
	}
	method := fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name())
	t.rules[method] = &Rule{Role: access.GetRole(), Priority: access.GetPriority(), path: path}
	return nil
}

// fieldPath resolves a dotted path of fields that ends in a string.
func fieldPath(m protoreflect.MessageDescriptor, dotted string) ([]protoreflect.FieldDescriptor, error) {
	if dotted == "" {
		return nil, nil
	}
	var path []protoreflect.FieldDescriptor
	for name := range strings.SplitSeq(dotted, ".") {
		if m == nil {
			return nil, fmt.Errorf("%q goes beyond a field that is no message", dotted)
		}
		f := m.Fields().ByName(protoreflect.Name(name))
		if f == nil || f.IsMap() {
			return nil, fmt.Errorf("%q: %s has no such field", dotted, m.FullName())
		}
		path, m = append(path, f), f.Message()
	}
	if path[len(path)-1].Kind() != protoreflect.StringKind {
		return nil, fmt.Errorf("%q is no string", dotted)
	}
	return path, nil
}

// Rule returns the rule of a full method name ("/segue.v1.ItemService/GetItem"), or nil: nobody may call that.
func (t *Table) Rule(method string) *Rule { return t.rules[method] }

// Names calls visit with the name of every collection that a request is about, or with "" where it is about the
// whole server or names none. It stops at visit's first error and returns it.
func (r *Rule) Names(req proto.Message, visit func(collection string) error) error {
	if r.Public || r.Anywhere {
		return nil
	}
	if len(r.path) == 0 {
		return visit("")
	}
	found := false
	err := walk(req.ProtoReflect(), r.path, func(name string) error {
		found = true
		return visit(name)
	})
	if err == nil && !found {
		return visit("")
	}
	return err
}

// FirstName returns the first of Names; "" where there is none.
func (r *Rule) FirstName(req proto.Message) (name string) {
	_ = r.Names(req, func(first string) error { // the error ends the walk
		name = first
		return errStop
	})
	return name
}

var errStop = errors.New("stop")

func walk(m protoreflect.Message, path []protoreflect.FieldDescriptor, visit func(string) error) error {
	f := path[0]
	one := func(v protoreflect.Value) error {
		if len(path) == 1 {
			return visit(v.String())
		}
		return walk(v.Message(), path[1:], visit)
	}
	if !f.IsList() {
		return one(m.Get(f))
	}
	list := m.Get(f).List()
	for i := range list.Len() {
		if err := one(list.Get(i)); err != nil {
			return err
		}
	}
	return nil
}
