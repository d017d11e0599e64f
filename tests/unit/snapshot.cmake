pager_unit_test(name pager_store)
pager_unit_test(manifest pager_store PkgConfig::XXHASH)
pager_unit_test(pagetable pager_store)
