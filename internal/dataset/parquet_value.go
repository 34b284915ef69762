package dataset

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// parquetValue converts one value that is not null to what [Record.Fields] holds.
type parquetValue func(parquet.Value) (any, error)

// parquetValueOf is the conversion of a type, nil where there is none. Times without a zone are taken for UTC.
func parquetValueOf(t parquet.Type) parquetValue {
	var logical format.LogicalTypeValue
	if l := t.LogicalType(); l != nil {
		logical = l.Value
	}
	switch l := logical.(type) {
	case nil:
		return plainParquetValue(t.Kind())
	case *format.StringType, *format.EnumType:
		if t.Kind() == parquet.ByteArray {
			return textValue
		}
	case *format.IntType:
		switch {
		case t.Kind() != parquet.Int32 && t.Kind() != parquet.Int64:
		case l.IsSigned:
			return plainParquetValue(t.Kind())
		case t.Kind() == parquet.Int32:
			return func(v parquet.Value) (any, error) {
				return json.Number(strconv.FormatUint(uint64(v.Uint32()), 10)), nil
			}
		default:
			return func(v parquet.Value) (any, error) { return json.Number(strconv.FormatUint(v.Uint64(), 10)), nil }
		}
	case *format.DateType:
		if t.Kind() == parquet.Int32 {
			return func(v parquet.Value) (any, error) { return timeValue(time.Unix(int64(v.Int32())*86400, 0)) }
		}
	case *format.TimestampType:
		if t.Kind() == parquet.Int64 && l.Unit.Value != nil {
			return timestampValue(l.Unit.Value.Duration())
		}
	}
	return nil
}

// plainParquetValue is the conversion of a type without further meaning.
func plainParquetValue(k parquet.Kind) parquetValue {
	switch k {
	case parquet.Boolean:
		return func(v parquet.Value) (any, error) { return v.Boolean(), nil }
	case parquet.Int32:
		return func(v parquet.Value) (any, error) { return json.Number(strconv.FormatInt(int64(v.Int32()), 10)), nil }
	case parquet.Int64:
		return func(v parquet.Value) (any, error) { return json.Number(strconv.FormatInt(v.Int64(), 10)), nil }
	case parquet.Float:
		return func(v parquet.Value) (any, error) { return jsonFloat(float64(v.Float())) }
	case parquet.Double:
		return func(v parquet.Value) (any, error) { return jsonFloat(v.Double()) }
	case parquet.ByteArray:
		return textValue
	}
	return nil
}

func textValue(v parquet.Value) (any, error) {
	b := v.ByteArray()
	if len(b) > MaxLineBytes {
		return nil, fmt.Errorf("text longer than %d bytes", MaxLineBytes)
	}
	if !utf8.Valid(b) {
		return nil, errors.New("text is not UTF-8")
	}
	return string(b), nil
}

func timestampValue(unit time.Duration) parquetValue {
	each := int64(unit)                         // nanoseconds
	second := int64(time.Second / max(unit, 1)) // units
	return func(v parquet.Value) (any, error) {
		n := v.Int64()
		return timeValue(time.Unix(n/second, n%second*each))
	}
}

// timeValue refuses years that RFC 3339 cannot write.
func timeValue(t time.Time) (any, error) {
	if t = t.UTC(); t.Year() < 1 || t.Year() > 9999 {
		return nil, fmt.Errorf("time lies in the year %d, not in 1 to 9999", t.Year())
	}
	return t, nil
}

// unpackFloats reads float32 little endian.
func unpackFloats(b []byte) ([]float32, error) {
	if len(b)%4 != 0 {
		return nil, fmt.Errorf("has %d bytes, not 4 a number", len(b))
	}
	if len(b)/4 > MaxDim {
		return nil, fmt.Errorf("has more than %d values", MaxDim)
	}
	v := make([]float32, len(b)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return v, nil
}
