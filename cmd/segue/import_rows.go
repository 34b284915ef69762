package main

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// rowError says why a row cannot be sent, in the terms in which the server would have said it.
type rowError struct{ client.Violation }

func (e *rowError) Error() string { return e.Field + ": " + e.Rule }

func fault(reason, field, format string, args ...any) *rowError {
	return &rowError{client.Violation{Reason: reason, Field: field, Rule: fmt.Sprintf(format, args...)}}
}

// rowConverter turns rows of files into messages.
//
// Every field of a JSON line, or column of a Parquet file, but "id" and "vector" becomes an attribute. Where the collection has a schema
// the schema says the type; else the value does:
//
//	string, list of strings   KEYWORD (one value, several)
//	whole number              INT     written without point or exponent
//	other number              FLOAT
//	true, false               BOOL
//	null, []                  no attribute
//
// A time of a Parquet file is a TIMESTAMP. Of text only a schema can ask for one, which is RFC 3339 or a date YYYY-MM-DD (midnight UTC), and for MARKETS, which
// are a code of two letters or a list of them, where [] means available nowhere.
// "expire_time", unless the schema declares it, is when the item expires, written like a TIMESTAMP.
// Objects and lists of anything but strings have no attribute type and are faults.
type rowConverter struct {
	// schema is the collection's; empty where it takes any attribute.
	schema map[string]seguev1.AttributeType
	// only names the fields to take; nil takes all.
	only map[string]bool
}

func newRowConverter(schema []*seguev1.AttributeSpec, only []string) *rowConverter {
	c := &rowConverter{schema: map[string]seguev1.AttributeType{}}
	for _, spec := range schema {
		c.schema[spec.GetName()] = spec.GetType()
	}
	if len(only) > 0 {
		c.only = map[string]bool{}
		for _, name := range only {
			c.only[name] = true
		}
	}
	return c
}

// item converts a record whose embedding is vector.
func (c *rowConverter) item(r dataset.Record, vector []float32) (*seguev1.Item, *rowError) {
	if vector == nil {
		return nil, fault("FIELD_REQUIRED", "vector", "the line has no vector field and no --vectors file is given")
	}
	item := &seguev1.Item{Id: r.ID, Vector: client.Vector(vector)}
	for name, v := range r.Fields {
		if c.only != nil && !c.only[name] {
			continue
		}
		if _, declared := c.schema[name]; name == expireField && !declared {
			var err *rowError
			if item.ExpireTime, err = expireTime(v); err != nil {
				return nil, err
			}
			continue
		}
		value, err := c.attribute(name, v)
		if err != nil {
			return nil, err
		}
		if value == nil {
			continue
		}
		if item.Attributes == nil {
			item.Attributes = make(map[string]*seguev1.AttributeValue, len(r.Fields))
		}
		item.Attributes[name] = value
	}
	return item, nil
}

// expireField is the field of a line that says when the row expires.
const expireField = "expire_time"

// expireTime converts a field that says when a row expires; null is never.
func expireTime(v any) (*timestamppb.Timestamp, *rowError) {
	if v == nil {
		return nil, nil
	}
	if at, ok := v.(time.Time); ok {
		return timestamppb.New(at), nil
	}
	text, _ := v.(string)
	at, err := parseTime(text)
	if err != nil {
		return nil, fault("INVALID_FORMAT", expireField, "must be RFC 3339 or YYYY-MM-DD, is %.40q", fmt.Sprint(v))
	}
	return timestamppb.New(at), nil
}

// profile converts a record whose interest vector is vector. Other fields but expire_time are not kept: profiles have
// no attributes.
func (c *rowConverter) profile(r dataset.Record, vector []float32) (*seguev1.Profile, *rowError) {
	if vector == nil {
		return nil, fault("FIELD_REQUIRED", "vector", "the line has no vector field and there is no file of profile vectors")
	}
	expires, err := expireTime(r.Fields[expireField])
	if err != nil {
		return nil, err
	}
	return &seguev1.Profile{
		UserId:     r.ID,
		Interests:  []*seguev1.Interest{{Vector: client.Vector(vector)}},
		ExpireTime: expires,
	}, nil
}

// attribute converts one field; nil means that the item does not have the attribute.
func (c *rowConverter) attribute(name string, v any) (*seguev1.AttributeValue, *rowError) {
	if v == nil {
		return nil, nil
	}
	field := "attributes[" + name + "]"
	want, declared := c.schema[name]
	if len(c.schema) > 0 && !declared {
		return nil, fault("UNKNOWN_ATTRIBUTE", field,
			"is not declared in the collection's schema (--fields chooses which fields to import)")
	}
	value, got, err := attributeOf(field, v, want)
	if err != nil || value == nil {
		return nil, err
	}
	if declared && got != want {
		return nil, fault("ATTRIBUTE_TYPE_MISMATCH", field, "must be %s, is %s", typeName(want), typeName(got))
	}
	return value, nil
}

// attributeOf converts v, leaning towards the type want where v allows more than one.
func attributeOf(field string, v any, want seguev1.AttributeType) (*seguev1.AttributeValue, seguev1.AttributeType, *rowError) {
	switch v := v.(type) {
	case time.Time:
		return timestamp(v), seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP, nil
	case string:
		if want == seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP {
			t, err := parseTime(v)
			if err != nil {
				return nil, 0, fault("INVALID_FORMAT", field, "must be RFC 3339 or YYYY-MM-DD, is %.40q", v)
			}
			return timestamp(t), want, nil
		}
		if want == seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS {
			return markets(v), want, nil
		}
		return keywords(v), seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD, nil
	case bool:
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_BoolValue{BoolValue: v}}, seguev1.AttributeType_ATTRIBUTE_TYPE_BOOL, nil
	case json.Number:
		return numberOf(field, v.String(), want)
	case []any:
		if len(v) == 0 && want != seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS {
			return nil, 0, nil
		}
		list := make([]string, len(v))
		for i, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, 0, fault("INVALID_FORMAT", field, "a list must hold strings only, element %d is not one", i)
			}
			list[i] = s
		}
		if want == seguev1.AttributeType_ATTRIBUTE_TYPE_MARKETS {
			return markets(list...), want, nil
		}
		return keywords(list...), seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD, nil
	}
	return nil, 0, fault("INVALID_FORMAT", field, "a JSON object cannot be an attribute")
}

func timestamp(t time.Time) *seguev1.AttributeValue {
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(t)}}
}

func keywords(values ...string) *seguev1.AttributeValue {
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: values}}}
}

// markets leaves it to the server to judge the codes.
func markets(codes ...string) *seguev1.AttributeValue {
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Markets{Markets: &seguev1.Markets{Codes: codes}}}
}

// numberOf converts a JSON number without losing any of it: where an INT is wanted a float must be whole
// and small enough to be exact, which is how table tools write integers of columns with gaps ("3.0").
func numberOf(field, text string, want seguev1.AttributeType) (*seguev1.AttributeValue, seguev1.AttributeType, *rowError) {
	const exact = 1 << 53
	whole := !strings.ContainsAny(text, ".eE")
	if want != seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT && whole {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, 0, fault("OUT_OF_RANGE", field, "%.40s does not fit in 64 bits", text)
		}
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: n}}, seguev1.AttributeType_ATTRIBUTE_TYPE_INT, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, 0, fault("OUT_OF_RANGE", field, "%.40s does not fit in a 64-bit float", text)
	}
	if want == seguev1.AttributeType_ATTRIBUTE_TYPE_INT && f == math.Trunc(f) && math.Abs(f) <= exact {
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: int64(f)}}, want, nil
	}
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_FloatValue{FloatValue: f}}, seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT, nil
}

func parseTime(s string) (time.Time, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// typeName is a type as people write it: KEYWORD.
func typeName(t seguev1.AttributeType) string {
	return strings.TrimPrefix(t.String(), "ATTRIBUTE_TYPE_")
}
