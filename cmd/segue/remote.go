package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// defaultAddr is where serve listens and every other command looks.
const defaultAddr = "127.0.0.1:7070"

// remote is the server that a command talks to.
type remote struct {
	addr      string
	insecure  bool
	timeout   time.Duration
	tls       bool
	tlsCA     string
	tlsCert   string
	tlsKey    string
	tokenFile string
}

// tokenVariable holds the token where no file is given: a flag would show it to everybody on the machine.
const tokenVariable = "SEGUE_TOKEN"

// flags adds --addr, --timeout and how the connection is secured to c.
func (r *remote) flags(c *cobra.Command, timeout time.Duration) {
	c.Flags().StringVar(&r.addr, "addr", defaultAddr, "server to talk to, HOST:PORT")
	c.Flags().BoolVar(&r.insecure, "insecure", false, "talk to another machine without TLS")
	c.Flags().DurationVar(&r.timeout, "timeout", timeout, "give up after this long; 0 never")
	c.Flags().BoolVar(&r.tls, "tls", false, "talk TLS, trusting the system's authorities")
	c.Flags().StringVar(&r.tlsCA, "tls-ca", "", "talk TLS, trusting the authorities in `FILE` (PEM)")
	c.Flags().StringVar(&r.tlsCert, "tls-cert", "", "show the client certificate in `FILE` (PEM)")
	c.Flags().StringVar(&r.tlsKey, "tls-key", "", "`FILE` of its private key (PEM)")
	c.Flags().StringVar(&r.tokenFile, "token-file", "", "`FILE` of the token to send (default: the variable "+tokenVariable+")")
}

func (r *remote) dial(options ...grpc.DialOption) (*client.Client, error) {
	o := client.Options{AllowPlaintext: r.insecure, UserAgent: "segue-cli", DialOptions: options}
	var err error
	if o.Credentials, err = r.credentials(); err != nil {
		return nil, err
	}
	if o.Token, err = r.token(); err != nil {
		return nil, err
	}
	c, err := client.Dial(r.addr, o)
	var plaintext *client.PlaintextError
	if errors.As(err, &plaintext) {
		return nil, usagef("--addr %s is another machine and the connection would not be encrypted: add --tls or --tls-ca, or --insecure to accept that", r.addr)
	}
	return c, err
}

// credentials are TLS where any of its flags is given, else nil.
func (r *remote) credentials() (credentials.TransportCredentials, error) {
	if !r.tls && r.tlsCA == "" && r.tlsCert == "" && r.tlsKey == "" {
		return nil, nil //nolint:nilnil // no credentials is what the client takes for plaintext
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if r.tlsCA != "" {
		pem, err := os.ReadFile(r.tlsCA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef("--tls-ca %s holds no certificate", r.tlsCA)
		}
	}
	if r.tlsCert != "" || r.tlsKey != "" {
		pair, err := tls.LoadX509KeyPair(r.tlsCert, r.tlsKey)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(config), nil
}

func (r *remote) token() (string, error) {
	if r.tokenFile == "" {
		return os.Getenv(tokenVariable), nil
	}
	text, err := os.ReadFile(r.tokenFile)
	return strings.TrimSpace(string(text)), err
}

// call dials and runs do within the timeout.
func (r *remote) call(ctx context.Context, do func(context.Context, *client.Client) error) error {
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.timeout)
		defer cancel()
	}
	c, err := r.dial()
	if err != nil {
		return err
	}
	err = do(ctx, c)
	if client.Reason(err) == "" { // not from a Segue server, then: say which one was meant
		switch status.Code(err) {
		case codes.Unavailable:
			err = fmt.Errorf("no Segue server answers at %s: %w", r.addr, err)
		case codes.DeadlineExceeded:
			err = fmt.Errorf("no answer from %s within %v: %w", r.addr, r.timeout, err)
		}
	}
	return errors.Join(err, c.Close())
}

// describe says an error the way a person reads it: a gRPC status, wherever it is wrapped, as its message,
// its broken rules one a line, and the names to search the documentation for.
func describe(err error) string {
	var rpc interface {
		error
		GRPCStatus() *status.Status
	}
	if !errors.As(err, &rpc) {
		return err.Error()
	}
	st := rpc.GRPCStatus()
	var b strings.Builder
	violations := client.Violations(rpc)
	if len(violations) == 0 {
		b.WriteString(st.Message())
	}
	for i, v := range violations {
		if i > 0 {
			b.WriteString("\n       ")
		}
		fmt.Fprintf(&b, "%s: %s", v.Field, v.Rule)
	}
	code := codeName(st.Code())
	if reason := client.Reason(rpc); reason != "" && reason != code {
		code += ", " + reason
	}
	fmt.Fprintf(&b, " (%s)", code)
	return strings.Replace(err.Error(), rpc.Error(), b.String(), 1)
}

// codeName is a gRPC code in the spelling of the protocol: NOT_FOUND.
func codeName(c codes.Code) string {
	switch c {
	case codes.Canceled:
		return "CANCELLED"
	case codes.OK:
		return "OK"
	}
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// isCanceled reports whether err only says that somebody ended the work.
func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled
}

// format is a value of the flag -o.
type format string

const (
	formatTable format = "table"
	formatJSON  format = "json"
)

func (f *format) flag(c *cobra.Command) {
	*f = formatTable
	c.Flags().VarP(f, "output", "o", "table or json")
}

// String, Set and Type make format a flag value.
func (f *format) String() string { return string(*f) }

// Set accepts the two formats.
func (f *format) Set(s string) error {
	if s != string(formatTable) && s != string(formatJSON) {
		return errors.New("must be table or json")
	}
	*f = format(s)
	return nil
}

// Type is shown in the usage.
func (f *format) Type() string { return "FORMAT" }

// writeJSON writes one indented JSON document.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// metricFlag is a metric as the command line writes it; the zero value is "not given".
type metricFlag struct{ metric seguev1.Metric }

// metricNames lists the spellings, the preferred one of each metric first.
func metricNames() map[string]seguev1.Metric {
	return map[string]seguev1.Metric{
		"cosine":        seguev1.Metric_METRIC_COSINE,
		"ip":            seguev1.Metric_METRIC_INNER_PRODUCT,
		"inner_product": seguev1.Metric_METRIC_INNER_PRODUCT,
		"l2":            seguev1.Metric_METRIC_L2,
	}
}

// String, Set and Type make metricFlag a flag value.
func (m *metricFlag) String() string { return metricName(m.metric) }

// Set accepts cosine, ip (or inner_product) and l2, in any case.
func (m *metricFlag) Set(s string) error {
	metric, ok := metricNames()[strings.ToLower(s)]
	if !ok {
		return errors.New("must be cosine, ip or l2")
	}
	m.metric = metric
	return nil
}

// Type is shown in the usage.
func (m *metricFlag) Type() string { return "METRIC" }

// storageFlag is where an index keeps vectors.
type storageFlag struct{ storage seguev1.VectorStorage }

// String, Set and Type make storageFlag a flag value.
func (f *storageFlag) String() string {
	if f.storage == seguev1.VectorStorage_VECTOR_STORAGE_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(f.storage.String(), "VECTOR_STORAGE_"))
}

// Set accepts memory and file, in any case.
func (f *storageFlag) Set(s string) error {
	n, ok := seguev1.VectorStorage_value["VECTOR_STORAGE_"+strings.ToUpper(s)]
	if !ok || n == 0 {
		return errors.New("must be memory or file")
	}
	f.storage = seguev1.VectorStorage(n)
	return nil
}

// Type is shown in the usage.
func (f *storageFlag) Type() string { return "STORAGE" }

// precisionFlag is in what precision an index keeps vectors.
type precisionFlag struct{ precision seguev1.VectorPrecision }

// String, Set and Type make precisionFlag a flag value.
func (f *precisionFlag) String() string {
	if f.precision == seguev1.VectorPrecision_VECTOR_PRECISION_UNSPECIFIED {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(f.precision.String(), "VECTOR_PRECISION_"))
}

// Set accepts float32 and float16, in any case.
func (f *precisionFlag) Set(s string) error {
	n, ok := seguev1.VectorPrecision_value["VECTOR_PRECISION_"+strings.ToUpper(s)]
	if !ok || n == 0 {
		return errors.New("must be float32 or float16")
	}
	f.precision = seguev1.VectorPrecision(n)
	return nil
}

// Type is shown in the usage.
func (f *precisionFlag) Type() string { return "PRECISION" }

// metricName is the command line's word for a metric; empty where there is none.
func metricName(m seguev1.Metric) string {
	switch m {
	case seguev1.Metric_METRIC_COSINE:
		return "cosine"
	case seguev1.Metric_METRIC_INNER_PRODUCT:
		return "ip"
	case seguev1.Metric_METRIC_L2:
		return "l2"
	case seguev1.Metric_METRIC_UNSPECIFIED:
	}
	return ""
}

// notFilterable is the option of an attribute that filters need not know.
const notFilterable = "nofilter"

// attributeSpec is what parseAttributeSpecs reads.
func attributeSpec(s *seguev1.AttributeSpec) string {
	text := s.GetName() + ":" + strings.ToLower(typeName(s.GetType()))
	if s.GetNotFilterable() {
		text += ":" + notFilterable
	}
	return text
}

// parseAttributeSpecs reads "name:type" flags, types in any case.
func parseAttributeSpecs(flags []string) ([]*seguev1.AttributeSpec, error) {
	var specs []*seguev1.AttributeSpec
	for _, s := range flags {
		name, typ, ok := strings.Cut(s, ":")
		typ, option, hasOption := strings.Cut(typ, ":")
		number, known := seguev1.AttributeType_value["ATTRIBUTE_TYPE_"+strings.ToUpper(typ)]
		if !ok || name == "" || !known || number == 0 || hasOption && option != notFilterable {
			return nil, usagef("--attribute %q: must be NAME:TYPE or NAME:TYPE:%s, with TYPE one of keyword, bool, int, float, timestamp, markets", s, notFilterable)
		}
		specs = append(specs, &seguev1.AttributeSpec{Name: name, Type: seguev1.AttributeType(number), NotFilterable: hasOption})
	}
	slices.SortFunc(specs, func(a, b *seguev1.AttributeSpec) int { return strings.Compare(a.Name, b.Name) })
	return specs, nil
}
