-- The statements of each kind of work: one file for both load generators, so that every system is asked the same.
-- `uniform(a, b)` is the generator's own random whole number from a to b. No statement holds a double quote or a
-- backslash, so it can stand in JSON as it is.
local KEYS = 10000 -- fill.py makes them

return function(uniform)
  local work = {}

  function work.insert()
    local n = uniform(1, 1000000000)
    return string.format("INSERT INTO users (name, email) VALUES ('u%d', 'u%d@example.com')", n, n)
  end

  function work.update()
    return string.format("UPDATE users SET name = 'v%d' WHERE id = %d", uniform(1, 1000000000), uniform(1, KEYS))
  end

  function work.read()
    return string.format("SELECT id, name, email, created_at, timestamp FROM users WHERE id = %d", uniform(1, KEYS))
  end

  function work.mix()
    if uniform(1, 10) == 1 then
      return work.insert()
    end
    return work.read()
  end

  return work
end
