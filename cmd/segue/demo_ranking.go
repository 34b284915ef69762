package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// demoLiked are tracks of three kinds, and demoDisliked one that should keep its like away.
func demoLiked() []known {
	return []known{
		{"0VjIjW4GlUZAMYd2vXMi3b", `"Blinding Lights" by The Weeknd`},
		{"003vvx7Niy0yvhvHt4a68B", `"Mr. Brightside" by The Killers`},
		{"6M9DkAAuh4ibDchrc8GBAn", `"Midnight City" by M83`},
	}
}

func demoDisliked() known { return demoTracks()[2] }

// showRanking shows what a service asks for beyond the nearest.
func showRanking(ctx context.Context, w io.Writer, c *client.Client, items int64) error {
	track := demoTracks()[0]
	nearest := demoRequest(client.ByItem(track.id))
	onePerArtist := demoRequest(client.ByItem(track.id))
	onePerArtist.Diversity = &seguev1.Diversity{
		CrowdingLimits:  []*seguev1.CrowdingLimit{{Attribute: "artists", MaxPerValue: 1}},
		DedupeAttribute: "title",
	}
	if err := showAnswer(ctx, w, c, "More like "+track.name+", one of each artist and title", onePerArtist, items); err != nil {
		return err
	}
	if err := showAbsence(ctx, w, c, nearest, onePerArtist); err != nil {
		return err
	}

	fresh := proto.CloneOf(onePerArtist)
	fresh.FilterExpression = "added >= 2021-04-01"
	fresh.ReadMask.Paths = append(fresh.ReadMask.Paths, "attributes.added")
	if err := showAnswer(ctx, w, c, "More like "+track.name+", one of each artist and title, added since April 2021", fresh, items); err != nil {
		return err
	}
	if err := showHeard(ctx, w, c, items); err != nil {
		return err
	}

	var ids, names []string
	for _, k := range demoLiked() {
		ids, names = append(ids, k.id), append(names, k.name)
	}
	likeThese := demoRequest(client.MoreLike(ids, []string{demoDisliked().id}))
	likeThese.Query.GetExamples().Strategy = seguev1.ExampleStrategy_EXAMPLE_STRATEGY_EACH
	likeThese.Diversity = &seguev1.Diversity{CrowdingLimits: []*seguev1.CrowdingLimit{{Attribute: "artists", MaxPerValue: 1}}, Mmr: 0.2}
	title := fmt.Sprintf("More like each of %s, not like %s, and not all the same", strings.Join(names, ", "), demoDisliked().name)
	return showAnswer(ctx, w, c, title, likeThese, items)
}

// demoListener is the exclusion set that the demo keeps.
const demoListener = "demo-listener"

// showHeard puts the best three tracks for a playlist on a listener's list of what they heard, blocks an artist, and asks again.
func showHeard(ctx context.Context, w io.Writer, c *client.Client, items int64) error {
	playlist := demoPlaylists()[1]
	all := demoRequest(client.ByUser(playlist.id))
	best, err := c.Retrieval.NearestNeighbors(ctx, all)
	if err != nil {
		return err
	}
	top := best.GetNeighbors()[:min(4, len(best.GetNeighbors()))]
	if len(top) < 4 {
		return nil
	}
	heard := &seguev1.AddExclusionsRequest{
		Collection: demoCollection, ExclusionSet: demoListener, Expiration: &seguev1.AddExclusionsRequest_Ttl{Ttl: durationpb.New(30 * 24 * time.Hour)},
	}
	for _, n := range top[:3] {
		heard.ItemIds = append(heard.ItemIds, n.GetItemId())
	}
	if _, err := c.Exclusions.AddExclusions(ctx, heard); err != nil {
		return err
	}
	artist := top[3].GetAttributes()["artists"].GetKeywords().GetValues()[0]
	unheard := proto.CloneOf(all)
	unheard.Exclusions = &seguev1.Exclusions{
		ExclusionSets:   []string{demoListener},
		AttributeValues: []*seguev1.AttributeIn{{Attribute: "artists", Values: []*seguev1.AttributeValue{keywords(artist)}}},
	}
	title := fmt.Sprintf("For whoever made the playlist %s, without the first three, which they heard this month, and without %s", playlist.name, artist)
	if err := showAnswer(ctx, w, c, title, unheard, items); err != nil {
		return err
	}
	return showAbsence(ctx, w, c, all, unheard)
}

// showAbsence says why the best neighbor that a request leaves out is not there.
func showAbsence(ctx context.Context, w io.Writer, c *client.Client, nearest, request *seguev1.NearestNeighborsRequest) error {
	all, err := c.Retrieval.NearestNeighbors(ctx, nearest)
	if err != nil {
		return err
	}
	kept, err := c.Retrieval.NearestNeighbors(ctx, request)
	if err != nil {
		return err
	}
	for _, n := range all.GetNeighbors() {
		there := slices.ContainsFunc(kept.GetNeighbors(), func(k *seguev1.Neighbor) bool { return k.GetItemId() == n.GetItemId() })
		if there {
			continue
		}
		absence, err := c.Retrieval.ExplainAbsence(ctx, &seguev1.ExplainAbsenceRequest{Request: request, ItemId: n.GetItemId()})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "Why is %q not there? ", attributeText(n.GetAttributes()["title"]))
		return writeAbsence(w, absence)
	}
	return nil
}

// demoRequest is a query of the demo.
func demoRequest(q *seguev1.Query) *seguev1.NearestNeighborsRequest {
	return &seguev1.NearestNeighborsRequest{
		Collection:    demoCollection,
		Query:         q,
		NeighborCount: demoNeighbors,
		ReadMask:      &fieldmaskpb.FieldMask{Paths: []string{"attributes.title", "attributes.artists"}},
	}
}
