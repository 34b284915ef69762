package seguev1_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

var update = flag.Bool("update", false, "rewrite testdata/surface.txt")

// files returns the API's file descriptors by ascending path.
func files() []protoreflect.FileDescriptor {
	var all []protoreflect.FileDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage("segue.v1", func(f protoreflect.FileDescriptor) bool {
		all = append(all, f)
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	return all
}

// TestSurface compares every method, field and enum value with a text that people review: a change of the API is
// never an accident. It passes after `go test ./proto/... -update`, which shows the change in the diff.
func TestSurface(t *testing.T) {
	var b strings.Builder
	for _, f := range files() {
		fmt.Fprintf(&b, "file %s\n", f.Path())
		for i := range f.Services().Len() {
			writeService(&b, f.Services().Get(i))
		}
		for i := range f.Messages().Len() {
			writeMessage(&b, f.Messages().Get(i))
		}
		for i := range f.Enums().Len() {
			writeEnum(&b, f.Enums().Get(i))
		}
		b.WriteByte('\n')
	}
	golden := filepath.Join("testdata", "surface.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the API changed (-%s, +now); if it is meant, run with -update:\n%s", golden, diff)
	}
}

func writeService(b *strings.Builder, s protoreflect.ServiceDescriptor) {
	fmt.Fprintf(b, "  service %s\n", s.Name())
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		a := access(m)
		fmt.Fprintf(b, "    %s(%s) %s  %s  %s(%s) %s\n", m.Name(), m.Input().Name(), m.Output().Name(), idempotency(m),
			a.GetRole(), a.GetCollection(), a.GetPriority())
	}
}

func idempotency(m protoreflect.MethodDescriptor) descriptorpb.MethodOptions_IdempotencyLevel {
	o, _ := m.Options().(*descriptorpb.MethodOptions) // nil, where there are none, has the default
	return o.GetIdempotencyLevel()
}

func access(m protoreflect.MethodDescriptor) *seguev1.Access {
	a, _ := proto.GetExtension(m.Options(), seguev1.E_Access).(*seguev1.Access)
	return a
}

// TestMethodsSayWhoMayCallThem holds for every method: nothing can be called that nobody thought about. Where the
// collection's path leads is checked by server/auth.
func TestMethodsSayWhoMayCallThem(t *testing.T) {
	for _, f := range files() {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				m := methods.Get(j)
				a := access(m)
				if a.GetRole() == seguev1.Role_ROLE_UNSPECIFIED || a.GetPriority() == seguev1.Priority_PRIORITY_UNSPECIFIED {
					t.Errorf("%s declares no option (segue.v1.access) with a role and a priority", m.FullName())
				}
				reads := idempotency(m) == descriptorpb.MethodOptions_NO_SIDE_EFFECTS
				if !reads && a.GetRole() == seguev1.Role_ROLE_READ {
					t.Errorf("%s has side effects and asks for no more than ROLE_READ", m.FullName())
				}
			}
		}
	}
}

func writeMessage(b *strings.Builder, m protoreflect.MessageDescriptor) {
	if m.IsMapEntry() {
		return
	}
	fmt.Fprintf(b, "  message %s\n", m.Name())
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		in := ""
		if o := f.ContainingOneof(); o != nil {
			in = "  in " + string(o.Name())
		}
		fmt.Fprintf(b, "    %d %s %s%s\n", f.Number(), f.Name(), fieldType(f), in)
	}
	for i := range m.Messages().Len() {
		writeMessage(b, m.Messages().Get(i))
	}
}

func writeEnum(b *strings.Builder, e protoreflect.EnumDescriptor) {
	fmt.Fprintf(b, "  enum %s\n", e.Name())
	for i := range e.Values().Len() {
		fmt.Fprintf(b, "    %d %s\n", e.Values().Get(i).Number(), e.Values().Get(i).Name())
	}
}

func fieldType(f protoreflect.FieldDescriptor) string {
	name := f.Kind().String()
	switch {
	case f.IsMap():
		return fmt.Sprintf("map<%s, %s>", fieldType(f.MapKey()), fieldType(f.MapValue()))
	case f.Message() != nil:
		name = string(f.Message().FullName())
	case f.Enum() != nil:
		name = string(f.Enum().FullName())
	}
	if f.IsList() {
		return "repeated " + name
	}
	return name
}

// TestMethodsSayWhetherTheyAreSafeToRepeat holds for every method but those that make something new each time: clients
// retry, and the server recovers panics, by this option.
func TestMethodsSayWhetherTheyAreSafeToRepeat(t *testing.T) {
	creates := map[protoreflect.Name]bool{"CreateCollection": true, "CreateSnapshot": true, "CreateBackup": true, "RollbackCollection": true}
	n := 0
	for _, f := range files() {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				n++
				m := methods.Get(j)
				want := descriptorpb.MethodOptions_IDEMPOTENT
				switch name := string(m.Name()); {
				case creates[m.Name()]:
					want = descriptorpb.MethodOptions_IDEMPOTENCY_UNKNOWN
				case strings.HasPrefix(name, "Get"), strings.HasPrefix(name, "BatchGet"), strings.HasPrefix(name, "List"),
					strings.HasSuffix(name, "NearestNeighbors"), strings.HasPrefix(name, "Explain"), name == "ScoreItems",
					strings.HasPrefix(name, "Export"), name == "MeasureRecall":
					want = descriptorpb.MethodOptions_NO_SIDE_EFFECTS
				}
				if level := idempotency(m); level != want {
					t.Errorf("%s: idempotency_level %v, want %v", m.FullName(), level, want)
				}
			}
		}
	}
	if n < 19 {
		t.Errorf("%d methods found", n)
	}
}

// TestNumbersOfOneByte keeps the fields of the messages that travel by the thousand below 16, where a tag has one byte.
func TestNumbersOfOneByte(t *testing.T) {
	for _, name := range []protoreflect.FullName{
		"segue.v1.Vector", "segue.v1.Floats", "segue.v1.Item", "segue.v1.Neighbor", "segue.v1.AttributeValue", "segue.v1.Keywords",
	} {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			t.Fatal(err)
		}
		m, ok := d.(protoreflect.MessageDescriptor)
		if !ok {
			t.Fatalf("%s is no message", name)
		}
		fields := m.Fields()
		for i := range fields.Len() {
			if f := fields.Get(i); f.Number() > 15 {
				t.Errorf("%s has number %d", f.FullName(), f.Number())
			}
		}
	}
}
