package gateway

import "strings"

// paths says where each unary method is, in the notation of google.api.http; a * at the end says that the request is the body.
// It is a table here, and not options in the .proto files, so that clients of other languages need no more files than ours.
const paths = `
CollectionService.CreateCollection         POST   /v1/collections *
CollectionService.ListCollections          GET    /v1/collections
CollectionService.GetCollection            GET    /v1/collections/{name}
CollectionService.DeleteCollection         DELETE /v1/collections/{name}
CollectionService.SetCollectionAlias       POST   /v1/aliases *
CollectionService.ListCollectionAliases    GET    /v1/aliases
CollectionService.DeleteCollectionAlias    DELETE /v1/aliases/{alias}

RetrievalService.NearestNeighbors          POST   /v1/collections/{collection}:nearestNeighbors *
RetrievalService.BatchNearestNeighbors     POST   /v1/collections/{collection}:batchNearestNeighbors *
RetrievalService.ScoreItems                POST   /v1/collections/{collection}:scoreItems *
RetrievalService.ExplainNeighbors          POST   /v1/collections/{request.collection}:explainNeighbors *
RetrievalService.ExplainAbsence            POST   /v1/collections/{request.collection}:explainAbsence *

ItemService.ListItems                      GET    /v1/collections/{collection}/items
ItemService.GetItem                        GET    /v1/collections/{collection}/items/{item_id}
ItemService.DeleteItem                     DELETE /v1/collections/{collection}/items/{item_id}
ItemService.UpsertItem                     POST   /v1/collections/{collection}/items *
ItemService.UpdateItemAttributes           POST   /v1/collections/{collection}/items:updateAttributes *
ItemService.BatchUpsertItems               POST   /v1/collections/{collection}/items:batchUpsert *
ItemService.BatchUpdateItemAttributes      POST   /v1/collections/{collection}/items:batchUpdateAttributes *
ItemService.BatchGetItems                  POST   /v1/collections/{collection}/items:batchGet *
ItemService.BatchDeleteItems               POST   /v1/collections/{collection}/items:batchDelete *

ProfileService.GetProfile                  GET    /v1/collections/{collection}/profiles/{user_id}
ProfileService.DeleteProfile               DELETE /v1/collections/{collection}/profiles/{user_id}
ProfileService.UpsertProfile               POST   /v1/collections/{collection}/profiles *
ProfileService.BatchUpsertProfiles         POST   /v1/collections/{collection}/profiles:batchUpsert *

ExclusionService.GetExclusionSet           GET    /v1/collections/{collection}/exclusionSets/{exclusion_set}
ExclusionService.DeleteExclusionSet        DELETE /v1/collections/{collection}/exclusionSets/{exclusion_set}
ExclusionService.AddExclusions             POST   /v1/collections/{collection}/exclusionSets/{exclusion_set}:add *
ExclusionService.RemoveExclusions          POST   /v1/collections/{collection}/exclusionSets/{exclusion_set}:remove *

ImportService.StartImport                  POST   /v1/collections/{collection}/imports *
ImportService.GetImport                    GET    /v1/collections/{collection}/imports/{job_id}
ImportService.ListImportRejects            GET    /v1/collections/{collection}/imports/{job_id}/rejects
ImportService.CommitImport                 POST   /v1/collections/{collection}/imports/{job_id}:commit *
ImportService.CancelImport                 POST   /v1/collections/{collection}/imports/{job_id}:cancel *

ReleaseService.ListReleases                GET    /v1/collections/{collection}/releases
ReleaseService.GetRelease                  GET    /v1/collections/{collection}/releases/{release}
ReleaseService.GetReleaseReport            GET    /v1/collections/{collection}/releases/{release}/report
ReleaseService.PublishRelease              POST   /v1/collections/{collection}/releases/{release}:publish *
ReleaseService.DeleteRelease               DELETE /v1/collections/{collection}/releases/{release}
ReleaseService.RollbackCollection          POST   /v1/collections/{collection}:rollback *

AdminService.CreateSnapshot                POST   /v1/collections/{collection}/snapshots *
AdminService.ListSnapshots                 GET    /v1/collections/{collection}/snapshots
AdminService.GetIndexStatistics            GET    /v1/collections/{collection}/statistics
AdminService.MeasureRecall                 POST   /v1/collections/{collection}:measureRecall *
AdminService.ListHubs                      GET    /v1/collections/{collection}/hubs
AdminService.CreateBackup                  POST   /v1/backups *
`

// Route is where a method is.
type Route struct {
	// Method is the full name: segue.v1.ItemService.GetItem.
	Method string
	// Verb is the HTTP method. Path is a pattern whose {names} are fields of the request.
	Verb, Path string
	// Body says that the request is the body, in JSON.
	Body bool
}

// Routes lists the routes of all unary methods.
func Routes() []Route {
	var out []Route
	for line := range strings.Lines(paths) {
		if f := strings.Fields(line); len(f) >= 3 {
			out = append(out, Route{Method: "segue.v1." + f[0], Verb: f[1], Path: f[2], Body: len(f) == 4})
		}
	}
	return out
}
