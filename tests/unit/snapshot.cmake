# What tests of publishing stand on.
add_library(pager_publishing STATIC image.c publishing.c)
target_link_libraries(pager_publishing PUBLIC pager_scratch PkgConfig::CMOCKA)

pager_unit_test(name pager_store)
pager_unit_test(manifest pager_store PkgConfig::XXHASH)
pager_unit_test(pagetable pager_store)
pager_unit_test(snapshot pager_scratch)
foreach(name publish publish_input publish_dedup publish_faults export)
  pager_unit_test(${name} pager_publishing)
endforeach()
