// What the scripts in this directory need to know of the server under test, see interop_test.go.
export const url = process.env.GRANTD_URL
export const odd = {
  id: process.env.ODD_ID,
  secret: process.env.ODD_SECRET,
  user: process.env.ODD_USER,
  password: process.env.ODD_PASSWORD,
}

// step runs a part of a script, prints whether it succeeded, and ends the process if it failed.
export async function step(name, run) {
  try {
    await run()
  } catch (err) {
    console.error('failed:', name)
    throw err
  }
  console.log('ok:', name)
}
