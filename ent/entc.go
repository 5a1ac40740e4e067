//go:build ignore

// This program generates the ent package from ent/schema. The GraphQL schema is written by hand in graph/;
// entgql adds what serves its reads: Relay connections, ordering, field collection and Noder.
package main

import (
	"log"

	"entgo.io/contrib/entgql"
	"entgo.io/ent/entc"
	"entgo.io/ent/entc/gen"
)

func main() {
	// What is left out: EnumTemplate (template/enum.tmpl instead), transactions and mutation inputs (writes go
	// through the services), where inputs (the API has its own filter, built from predicates).
	gql, err := entgql.NewExtension(entgql.WithWhereInputs(false), entgql.WithTemplates(
		entgql.CollectionTemplate, entgql.NodeTemplate, entgql.PaginationTemplate, entgql.EdgeTemplate))
	if err != nil {
		log.Fatalf("make the entgql extension: %v", err)
	}
	err = entc.Generate("./schema", &gen.Config{
		Features: []gen.Feature{gen.FeatureUpsert, gen.FeatureLock, gen.FeatureExecQuery, gen.FeatureVersionedMigration},
	}, entc.Extensions(gql), entc.TemplateDir("./template"))
	if err != nil {
		log.Fatalf("generate ent: %v", err)
	}
}
