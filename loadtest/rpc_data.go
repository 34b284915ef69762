package loadtest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// generatedQueries is how many rows GenerateCollection keeps out to ask with.
const generatedQueries = 1000

// GenerateCollection makes a collection of rows x dim embeddings under L2: clusters of unequal size that touch, each thick in
// 24 directions (dataset.Embedded). Further rows of the same distribution become profiles, which GeneratedUsers names: they ask. The
// same arguments give the same rows. Cost: a build; rows*dim*4 bytes for the time being.
func GenerateCollection(ctx context.Context, e *engine.Engine, name string, rows, dim int) (*engine.Collection, error) {
	c, err := e.CreateCollection(ctx, engine.CollectionConfig{Name: name, Dim: dim, Metric: engine.L2})
	if err != nil {
		return nil, err
	}
	const job = "generated"
	if _, err := c.StartImport(ctx, engine.ImportOptions{JobID: job, ExpectedItems: rows}); err != nil {
		return nil, err
	}
	data := dataset.Embedded(1, rows+generatedQueries, dim, max(10, min(1000, rows/50)), 24)
	row := func(i int) []float32 { return data[i*dim : (i+1)*dim] }
	batch := engine.ImportRows{}
	for i := 0; i < rows; {
		batch.Items = batch.Items[:0]
		for ; i < rows && len(batch.Items) < 5000; i++ {
			batch.Items = append(batch.Items, engine.Item{ID: fmt.Sprintf("item-%07d", i), Vector: row(i)})
		}
		batch.Sequence++
		if _, err := c.WriteImport(ctx, job, batch, false); err != nil {
			return nil, err
		}
	}
	users := engine.ImportRows{Sequence: batch.Sequence + 1}
	for i, user := range GeneratedUsers() {
		users.Profiles = append(users.Profiles, engine.Profile{UserID: user, Interests: []engine.Interest{{Vector: row(rows + i)}}})
	}
	if _, err := c.WriteImport(ctx, job, users, true); err != nil {
		return nil, err
	}
	data = nil // not held during the build
	if _, err := c.CommitImport(ctx, job); err != nil {
		return nil, err
	}
	info, err := c.WaitImport(ctx, job)
	if err := errors.Join(err, info.Err); err != nil {
		return nil, err
	}
	_, err = c.PublishRelease(ctx, info.Release, engine.PublishConditions{})
	return c, err
}

// GeneratedUsers are the ids of the profiles that GenerateCollection makes.
func GeneratedUsers() []string {
	users := make([]string, generatedQueries)
	for i := range users {
		users[i] = fmt.Sprintf("user-%04d", i)
	}
	return users
}

// ProfileVectors returns the first vector of each user's profile, to ask with.
func ProfileVectors(ctx context.Context, c *engine.Collection, users []string) ([][]float32, error) {
	out := make([][]float32, 0, len(users))
	for _, user := range users {
		p, err := c.Profile(ctx, user)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Interests[0].Vector)
	}
	return out, nil
}

// float32LE encodes a vector as it is cheapest to decode.
func float32LE(v []float32) *seguev1.Vector {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: b}}
}
