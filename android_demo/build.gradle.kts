// For Android Studio: opens this folder as a project. Our CI does not run it: build.py is what builds and tests the app.
// All facts come from app.properties, which build.py reads too; a test refuses literals of them here.
import java.util.Properties

plugins {
    id("com.android.application")
}

val app = Properties().apply { file("app.properties").inputStream().use { load(it) } }

fun fact(key: String): String = app.getProperty(key) ?: error("app.properties lacks $key")

android {
    namespace = fact("application_id")
    compileSdk = fact("target_sdk").toInt()
    defaultConfig {
        applicationId = fact("application_id")
        minSdk = fact("min_sdk").toInt()
        targetSdk = fact("target_sdk").toInt()
        versionCode = fact("version_code").toInt()
        versionName = fact("version_name")
        ndk { abiFilters += fact("abis").split(",") }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
    sourceSets["main"].apply {
        manifest.srcFile("AndroidManifest.xml")
        java.setSrcDirs(listOf("java"))
        res.setSrcDirs(listOf("res"))
        assets.setSrcDirs(listOf("../build/android/assets")) // laid there by `build.py --assets`
    }
    androidResources { noCompress += "tflite" }
}

dependencies {
    implementation("org.tensorflow:tensorflow-lite:${fact("tflite_version")}")
}
