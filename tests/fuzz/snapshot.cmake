foreach(name manifest pagetable)
  pager_fuzz(${name} pager_store PkgConfig::XXHASH)
endforeach()
